"""Spies: stand-ins for methods and updaters that note what each hook does and change nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from prunebench.api.contexts import CalibratedLayer, Scoring, Training
from prunebench.api.errors import PluginError
from prunebench.api.layers import Flops, Network
from prunebench.api.methods import Deployed, Method, Updater
from prunebench.testing.global_state import kept, same

T = TypeVar("T")

UNDERSTATED = 0.5
"""A method declares too little when it is less than this share of the FLOPs that are counted."""


class Spy:
    """Observations of a run: `problems` by the check that they belong to."""

    def __init__(self) -> None:
        self.problems: dict[str, list[str]] = {}
        self.scored = 0
        """How many times scores were computed."""
        self.unscored: dict[str, None] = {}
        """Layers in which every score was 0 once, in their order."""
        self.updates = 0
        """How many times an updater set masks."""

    def note(self, check: str, problem: str) -> None:
        found = self.problems.setdefault(check, [])
        if problem not in found:
            found.append(problem)

    @contextmanager
    def call(self, hook: str) -> Iterator[None]:
        """Watch one call of a hook."""
        with kept() as changed:
            yield
        for name in changed:
            self.note("globals", f"{hook} changed {name}")


@dataclass
class _Declared:
    """What the last call of `scoring_flops` returned."""

    flops: float = 0.0
    dense: bool = False
    """Whether it was about a dense network."""


class SpiedMethod(Method):
    """Replaces a method in a stage, and passes each call on to it."""

    method: Method
    spy: Spy
    declared: _Declared = field(default_factory=_Declared)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.method.name)
        for name in ("whole_blocks", "low_rank"):
            object.__setattr__(self, name, getattr(self.method, name))

    def scoring_flops(self, network: Network, density: float) -> float:
        with self.spy.call("scoring_flops"):
            flops = self.method.scoring_flops(network, density)
        self.declared.flops, self.declared.dense = flops, density == 1
        _check_number(flops, f"scoring_flops of method {self.name!r}")
        if not (math.isfinite(flops) and flops >= 0):
            self.spy.note("cost", f"scoring_flops returned {flops}: it must be finite and not negative")
        return flops

    def scores(self, scoring: Scoring) -> dict[str, torch.Tensor]:
        self.spy.scored += 1
        masks = {name: mask.clone() for name, mask in scoring.masks.items()}
        names = {layer.name: layer.shape for layer in scoring.layers}
        counter = _Counter()
        with (
            self.spy.call("scores"),
            _passes(scoring.model) as passes,
            counter if self.declared.dense else nullcontext(),
        ):
            scores = self.method.scores(scoring)
        if not same(masks, scoring.masks):
            self.spy.note("context", "scores changed scoring.masks in place")
        self._check_cost(len(passes), counter.flops)
        self._check_scores(scores, names, masks)
        return scores

    def _check_cost(self, passes: int, counted: float, function: str = "scores") -> None:
        """Pruned weights may be skipped in what is declared, but there are none in a dense network."""
        if passes and not self.declared.flops:
            self.spy.note("cost", f"{function} runs the network, and scoring_flops declares nothing")
        elif passes and self.declared.dense and self.declared.flops < UNDERSTATED * counted:
            declared = f"scoring_flops declares {self.declared.flops:,.0f}"
            self.spy.note("cost", f"{function} needs {counted:,.0f} FLOPs, and {declared}")

    def _check_scores(
        self, scores: Any, shapes: Mapping[str, tuple[int, ...]], masks: Mapping[str, torch.Tensor]
    ) -> None:
        def wrong(problem: str) -> None:
            self.spy.note("scores", problem)

        if not isinstance(scores, Mapping):
            wrong(f"scores returned {type(scores).__name__}, not a dict of tensors")
            return
        for name in scores.keys() - shapes.keys():
            wrong(f"scores returned {name!r}, which is not in scoring.weights")
        for name, shape in shapes.items():
            score = scores.get(name)
            if not isinstance(score, torch.Tensor):
                wrong(f"scores returned {'nothing' if score is None else type(score).__name__} for {name!r}")
            elif tuple(score.shape) != shape:
                wrong(f"the scores of {name!r} have shape {tuple(score.shape)}, not {shape}")
            elif not bool(torch.isfinite(score).all()):
                wrong(f"the scores of {name!r} are not all finite")
            elif bool(masks[name].any()) and not bool(score[masks[name].to(score.device)].any()):
                self.spy.unscored[name] = None

    def channel_scores(self, scoring: Scoring) -> dict[str, torch.Tensor]:
        counter = _Counter()
        self.spy.scored += 1
        with (
            self.spy.call("channel_scores"),
            _passes(scoring.model) as passes,
            counter if self.declared.dense else nullcontext(),
        ):
            scores = self.method.channel_scores(scoring)
        self._check_cost(len(passes), counter.flops, "channel_scores")
        for name in scores.keys() - {group.name for group in scoring.groups} if isinstance(scores, Mapping) else ():
            self.spy.note("scores", f"channel_scores returned {name!r}, which is not the name of a group")
        return scores

    def compensate(self, scoring: Scoring, masks: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        with self.spy.call("compensate"):
            return self.method.compensate(scoring, masks)

    def prune_layer(self, layer: CalibratedLayer) -> tuple[torch.Tensor, ...]:
        before = [layer.weight.clone(), layer.moments.clone(), layer.means.clone()]
        with self.spy.call("prune_layer"):
            found = self.method.prune_layer(layer)
        if not same(before, [layer.weight, layer.moments, layer.means]):
            self.spy.note("context", "prune_layer changed the layer that it was passed in place")
        return found

    def layer_flops(self, outputs: int, inputs: int, tokens: int) -> float:
        with self.spy.call("layer_flops"):
            flops = self.method.layer_flops(outputs, inputs, tokens)
        _check_number(flops, f"layer_flops of method {self.name!r}")
        if not (math.isfinite(flops) and flops >= 0):
            self.spy.note("cost", f"layer_flops returned {flops}: it must be finite and not negative")
        return flops

    def updater(self, density: float | None) -> Updater:
        with self.spy.call("updater"):
            updater = self.method.updater(density)
        return SpiedUpdater(updater, self.spy) if isinstance(updater, Updater) else updater

    def deploy(self, scoring: Scoring) -> Deployed:
        with self.spy.call("deploy"):
            return self.method.deploy(scoring)


class SpiedUpdater(Updater):
    """Replaces an updater in a training, and passes each call on to it."""

    def __init__(self, updater: Updater, spy: Spy) -> None:
        self.inner, self.spy = updater, spy
        self.trains_dense = updater.trains_dense  # type: ignore[misc]
        self._setting: Training | None = None
        self._set = False
        """Whether `set_masks` was called since a hook began."""

    def begin(self, training: Training) -> None:
        self._call("begin", training, self.inner.begin)

    def needs_dense_gradient(self, training: Training) -> bool:
        return self._call("needs_dense_gradient", training, self.inner.needs_dense_gradient)

    def apply_masks(self, training: Training) -> None:
        self._call("apply_masks", training, self.inner.apply_masks)
        self._check_zeros(training)

    def restore_dense(self, training: Training) -> None:
        self._call("restore_dense", training, self.inner.restore_dense)

    def after_backward(self, training: Training) -> bool:
        return self._call("after_backward", training, self.inner.after_backward)

    def after_step(self, training: Training) -> None:
        self._call("after_step", training, self.inner.after_step)

    def flops(self, training: Training) -> Flops:
        given = self._call("flops", training, self.inner.flops)
        _check_number(given.item() if isinstance(given, torch.Tensor) else given, "flops of the updater")
        flops, least = float(given), 2 * float(training.sparse_flops)
        if not (math.isfinite(flops) and flops >= least * (1 - 1e-9)):
            self.spy.note(
                "cost", f"flops returned {flops:,.0f}: a step is at least 2 * training.sparse_flops, {least:,.0f}"
            )
        return given  # the very thing: what the ledger makes of a tensor is part of the check

    def _call(self, hook: str, training: Training, function: Callable[[Training], T]) -> T:
        if getattr(type(self.inner), hook) is getattr(Updater, hook):
            return function(training)
        self._listen(training)
        self._set = False
        before = _versions(training)
        with self.spy.call(hook):
            answer = function(training)
        if not self._set and _versions(training) != before:
            self.spy.note("context", f"{hook} changed training.masks in place: call training.set_masks")
        return answer

    def _listen(self, training: Training) -> None:
        if self._setting is training:
            return
        self._setting, set_masks = training, training.set_masks

        def heard(masks: Mapping[str, torch.Tensor]) -> None:
            self._set = True
            self.spy.updates += 1
            set_masks(masks)

        training.set_masks = heard  # type: ignore[method-assign]

    def _check_zeros(self, training: Training) -> None:
        if "zeros" in self.spy.problems:  # the first is enough
            return
        with torch.no_grad():
            for name, mask in training.masks.items():
                revived = int(torch.count_nonzero(training.parameters[name] * ~mask))
                if revived:
                    self.spy.note(
                        "zeros", f"at step {training.step} {revived} pruned weights of {name!r} are not zero in a pass"
                    )
                    return


def _check_number(value: Any, source: str) -> None:
    if not isinstance(value, (int, float)):
        raise PluginError(f"{source} must return a number, and returned {value!r}")


def _versions(training: Training) -> dict[str, tuple[int, int]]:
    """Of each mask, what changes when it is replaced or written to."""
    return {name: (id(mask), mask._version) for name, mask in training.masks.items()}


@contextmanager
def _passes(model: nn.Module) -> Iterator[list[str]]:
    """The modules that run inside, once for each time."""
    ran: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda module, _: ran.append(type(module).__name__))
        for module in model.modules()
    ]
    try:
        yield ran
    finally:
        for handle in handles:
            handle.remove()


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the FLOPs of what runs inside, as torch.utils.flop_counter has them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=found)
        return found
