"""The training loop, the same for every method.

A `step` is counted from 0 and named while it is made; `steps_made` counts the steps that have been made. A step is a
function of (parameters, buffers, masks, batch, generator): batches, augmentation and dropout are drawn from
(seed, step), so that training 0 → k → T in two stages is bitwise equal to 0 → T in one, and a resumed training to an
uninterrupted one.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, closing, nullcontext

import torch

from prunebench.api import times
from prunebench.api.methods import Updater
from prunebench.api.tasks import Engine, Recipe
from prunebench.data import seeds
from prunebench.training.distillation import Teacher, extra_flops, step_loss
from prunebench.training.metrics import MetricsLog
from prunebench.training.recipes import learning_rate
from prunebench.training.state import State, snapshot
from prunebench.training.training_context import TrainingContext
from prunebench.training.trial_context import TrialContext


class CheckpointCallback:
    """Base class of what keeps states during a training; by default none is kept."""

    def wants(self, steps_made: int) -> bool:
        """Called after each step; returns whether the state after it is to be kept."""
        return False

    def keep(self, state: State) -> None:
        """Called with each state that is to be kept: a training that resumes from it gives the same results."""


def train(
    context: TrialContext,
    state: State,
    stop: int,
    stream: str,
    updater: Updater,
    fresh: bool,
    callback: CheckpointCallback | None = None,
    teacher: Teacher | None = None,
    engine: Engine = "dense",
) -> State:
    """Train from the state's step until `stop` steps have been made.

    Args:
        stream: names the randomness of data order, augmentation and dropout.
        updater: changes the masks; its docstring shows when each of its hooks is called.
        fresh: whether the updater begins here; otherwise it goes on with the state's memory.
        callback: keeps states on the way.
        teacher: a network whose outputs are imitated.
        engine: what computes with the weights.

    Raises:
        Diverged: when the loss of an evaluation is not finite.
    """
    task, data, seed, model = context.trial.task, context.data, context.trial.seed, context.model_at(state.cut)
    recipe, clock = task.recipe, task.clock
    training = _context(engine, context, state, updater)
    loss_of, precision = step_loss(recipe, data.objective, teacher), _precision(recipe, training.device)
    extra = extra_flops(context.network_at(state.cut), context.network, data.objective, teacher)
    # A program for each shape: with dynamic ones the bits would depend on the shapes that came before.
    forward = torch.compile(model, dynamic=False) if recipe.compile else model
    log = MetricsLog(state, training.device)
    if fresh:
        updater.begin(training)
    else:
        updater.restore_dense(training)

    with seeds.restored(), closing(data), training.running():
        model.train()
        for step in range(state.step, stop):
            begun = time.process_time()
            training.step = step
            training.begin_step(updater.needs_dense_gradient(training))
            seeds.reseed(training.device, seed, stream, "step", step)
            inputs, targets = data.batch(seed, stream, step)
            for group in training.optimizer.param_groups:
                group["lr"] = learning_rate(recipe, clock, step)
                for parameter in group["params"]:  # what zero_grad does, without its messages to a profiler
                    parameter.grad = None
            updater.apply_masks(training)
            with precision:
                loss = loss_of(forward, inputs, targets)
            loss.backward()  # type: ignore[no-untyped-call]
            updater.restore_dense(training)
            log.add(loss, len(targets), updater.flops(training) + extra)
            if not updater.after_backward(training):
                training.make_step(recipe.clip_norm)
            updater.after_step(training)
            log.add_seconds(time.process_time() - begun)
            if evaluation_due(recipe, clock, step + 1):
                updater.apply_masks(training)
                log.evaluate(model, data, step + 1)
                training.check_scores()
                training.measure_choice()
                updater.restore_dense(training)
            if callback and callback.wants(step + 1):
                updater.apply_masks(training)
                callback.keep(
                    state.changed(**snapshot(training.model), **log.fields(step + 1), **training.remembered())
                )
                updater.restore_dense(training)
    updater.apply_masks(training)
    return state.changed(**snapshot(training.model), **log.final_fields(stop), **training.remembered())


def _context(engine: Engine, context: TrialContext, state: State, updater: Updater) -> TrainingContext:
    if engine == "sparse":
        from prunebench.training.compressed import CompressedTraining  # needs numba, which is optional

        return CompressedTraining(context, state)
    return TrainingContext(context, state, updater.trains_dense)


def _precision(recipe: Recipe, device: torch.device) -> AbstractContextManager[object]:
    if recipe.precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def evaluation_due(recipe: Recipe, clock: times.Clock, steps_made: int) -> bool:
    """Whether the network is evaluated after so many steps: at every interval, and at the recipe's end."""
    interval = times.step_of(recipe.evaluate_every, clock)
    return steps_made % max(1, interval) == 0 or steps_made == clock.total
