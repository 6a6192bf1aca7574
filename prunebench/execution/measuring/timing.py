"""The dense network, beside which others are timed, and the share of its latency that a cut network has."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from prunebench.api.errors import PrunebenchError, Unsupported
from prunebench.api.runtimes import Runtime
from prunebench.api.stages import TimedPass
from prunebench.data import seeds
from prunebench.data.inputs import Inputs
from prunebench.execution.measuring.runtimes import Deployed, Deployments, first_inputs, using_threads
from prunebench.network.delivery import FinishedNetwork
from prunebench.network.deployment import interleaved
from prunebench.network.modules import plain
from prunebench.training.trial_context import TrialContext, fresh_model


def dense_network(context: TrialContext, threads: int = 1) -> FinishedNetwork:
    """The task's dense network, beside which others are timed. Its weights are random: they do not change its speed."""
    model = plain(fresh_model(context.trial, "scratch"))[0].eval()
    return FinishedNetwork(model, context.trial.task.interface.inputs, 0.0, threads, calibration(context))


def calibration(context: TrialContext) -> Callable[[int, int], Iterator[Inputs]]:
    """Mini-batches of training inputs, the same for each runtime."""

    def batches(count: int, size: int) -> Iterator[Inputs]:
        data = context.data
        order = torch.randperm(len(data.train), generator=seeds.generator(context.trial.seed, "runtimes", "batches"))
        for chosen in torch.split(order[: count * size], size):
            yield data.examples(data.train, chosen.to(context.device))[0]

    return batches


@contextmanager
def timing(timed: TimedPass, context: TrialContext) -> Iterator[Callable[[nn.Module], float]]:
    """Context with a function that returns the latency of a network, relative to the dense float32 network's.

    Both are timed alternately in the same runtime. The function changes the module that it is passed. It raises
    PrunebenchError for a network that the runtime cannot run.
    """
    runtime, dense = timed.runtime, dense_network(context, timed.threads)
    assert isinstance(runtime, Runtime), runtime
    inputs = first_inputs(context.data, timed.batch_size)
    with tempfile.TemporaryDirectory(prefix="prunebench-") as root, using_threads(timed.threads):
        deployments = Deployments(Path(root), dense)
        reference = _deployed(deployments, runtime.dense(), dense)

        def share(module: nn.Module) -> float:
            module = plain(module.cpu())[0].eval()
            network = FinishedNetwork(module, dense.inputs, 0.0, timed.threads, dense.batches)
            both = (_deployed(deployments, runtime, network), reference)
            found = interleaved({place: (one.program.run, one.placed(inputs)) for place, one in enumerate(both)})
            return found[0][0] / found[1][0]

        yield share


def _deployed(deployments: Deployments, runtime: Runtime, network: FinishedNetwork) -> Deployed:
    try:
        return deployments.of(runtime, network)
    except Unsupported as reason:
        raise PrunebenchError(f"the latency in {runtime.title!r} cannot be measured: {reason}") from None
