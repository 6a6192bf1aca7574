"""The learning rate, the optimizer and the loss of a recipe."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from prunebench.api import times
from prunebench.api.errors import SuiteError
from prunebench.api.objectives import Objective
from prunebench.api.tasks import Optimizer, Recipe, Schedule
from prunebench.training import optimizers
from prunebench.training.installed_optimizers import is_path, optimizer_class, version_of

TORCH: dict[str, Any] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def learning_rate(recipe: Recipe, clock: times.Clock, step: int) -> float:
    """The learning rate of the step that is being made, counted from 0; after the recipe's end it keeps its last value.

    A pure function of the step: going back to a step goes back to its learning rate.
    """
    schedule, last = recipe.schedule, recipe.optimizer.lr
    step = min(step, clock.total - 1)
    warmup = times.step_of(schedule.warmup, clock)
    if step < warmup:
        return last * (step + 1) / warmup
    if schedule.name == "multistep":
        drops = sum(step >= times.step_of(milestone, clock) for milestone in schedule.milestones)
        return last * schedule.gamma**drops
    if schedule.name == "cosine":
        return last * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, clock.total - warmup)))
    if schedule.name == "linear":
        return last * (1 - (step - warmup) / max(1, clock.total - warmup))
    if schedule.name == "one-cycle":
        return last * _one_cycle(schedule, clock, step)
    return last


def _one_cycle(schedule: Schedule, clock: times.Clock, step: int) -> float:
    """The share of the full rate: a half cosine up to the peak, and another one down to the last step.

    As torch.optim.lr_scheduler.OneCycleLR has it (Smith & Topin 2019, arXiv:1708.07120), without a cycle of momentum.
    """
    peak, end = times.step_of(schedule.peak, clock) - 1, clock.total - 1
    if step <= peak:
        return _between(schedule.initial, 1.0, step / peak if peak > 0 else 1.0)
    return _between(1.0, schedule.final, (step - max(peak, 0)) / max(1, end - max(peak, 0)))


def _between(first: float, last: float, share: float) -> float:
    """From the first value to the last along half a cosine."""
    return last + (first - last) / 2 * (1 + math.cos(math.pi * share))


def make_optimizer(
    spec: Optimizer, parameters: Iterable[nn.Parameter], dense_gradients: bool = True
) -> torch.optim.Optimizer:
    """The optimizer of a recipe, with no state yet.

    Args:
        dense_gradients: false if a gradient may be a sparse tensor, which fused kernels do not take.

    Raises SuiteError when neither torch nor timm.optim has one of that name, or when it lacks an option.
    """
    for _, reason in optimizers.option_errors(spec):
        raise SuiteError(reason)
    parameters, options = list(parameters), optimizers.chosen_options(spec)
    optimizer: torch.optim.Optimizer
    if spec.name in TORCH:
        # The fused kernels do a whole step in one call: on a small network a third of the step's time.
        fused = dense_gradients and all(map(_takes_fused, parameters))
        optimizer = TORCH[spec.name](parameters, lr=spec.lr, fused=fused, **options)
    elif is_path(spec.name):
        optimizer = optimizer_class(spec.name)(parameters, lr=spec.lr, **options)  # type: ignore[call-arg, arg-type]
    else:
        from timm import optim  # seconds to import, and seldom needed

        optimizer = optim.create_optimizer_v2(parameters, opt=spec.name, lr=spec.lr, **options)
    return optimizer


@cache
def resolved_options(spec: Optimizer) -> Mapping[str, Any]:
    """The options of a recipe's optimizer: those that it sets, and the library's defaults of the others.

    Raises SuiteError as `make_optimizer` does.
    """
    defaults = _defaults(spec)
    found = {name: defaults[name] for name in sorted(optimizers.options_of(spec.name)) if name in defaults}
    return {**found, "distribution": version_of(spec.name)} if is_path(spec.name) else found


def _defaults(spec: Optimizer) -> Mapping[str, Any]:
    if spec.name not in TORCH:
        return make_optimizer(spec, [nn.Parameter(torch.zeros(2, 2))]).defaults
    for _, reason in optimizers.option_errors(spec):
        raise SuiteError(reason)
    # The signature and not an optimizer: to make one imports torch's compiler, which takes a second.
    signature = inspect.signature(TORCH[spec.name]).parameters
    return {name: one.default for name, one in signature.items()} | optimizers.chosen_options(spec)


def _takes_fused(parameter: nn.Parameter) -> bool:
    """Whether torch's fused kernels take a parameter: they refuse complex numbers, integers and sparse tensors."""
    return parameter.layout == torch.strided and parameter.is_floating_point()


def training_loss(recipe: Recipe, objective: Objective) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The objective's loss of (outputs, targets), with the recipe's label smoothing."""
    if recipe.label_smoothing:
        return partial(objective.smoothed_loss, smoothing=recipe.label_smoothing)
    return objective.loss
