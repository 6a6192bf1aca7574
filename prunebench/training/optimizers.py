"""What an optimizer can be told: an option that it would ignore is a mistake in the suite."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec

from prunebench.api.tasks import Optimizer
from prunebench.messages.suggestions import near, shown

TORCH: Mapping[str, tuple[str, ...]] = {
    "sgd": ("momentum", "nesterov", "weight_decay"),
    "adam": ("betas", "eps", "weight_decay"),
    "adamw": ("betas", "eps", "weight_decay"),
}
"""The optimizers that are torch's own, and their options beside the learning rate."""
OPTIONS = ("momentum", "nesterov", "betas", "eps", "weight_decay")


def given(spec: Optimizer) -> dict[str, object]:
    """The options that a recipe gives; the others are the optimizer's own."""
    options = {name: getattr(spec, name) for name in OPTIONS}
    return {name: value for name, value in options.items() if value is not None}


def amiss(spec: Optimizer) -> Iterator[tuple[str, str]]:
    """What is wrong with an optimizer's name and options, as (key, reason)."""
    if reason := _unusable(spec.name):
        yield "name", reason
        return
    known = options_of(spec.name)
    for option in given(spec):
        if option not in known:
            has = ", ".join(name for name in OPTIONS if name in known)
            yield option, f"{spec.name} has no {option}; it has lr, {has}"
    if "betas" in known and spec.betas is not None and len(spec.betas) != (count := _betas(spec.name)):
        yield "betas", f"{spec.name} has {count} betas, not {len(spec.betas)}"


def _unusable(name: str) -> str:
    """Why there is no such optimizer here, or nothing."""
    if name in TORCH:
        return ""
    from timm import optim  # seconds to import, and seldom needed

    names = optim.list_optimizers()
    if name not in names:
        return f"unknown optimizer {shown(name)}{near(name, [*TORCH, *names])}"
    info = optim.get_optimizer_info(name)
    package = info.opt_class.partition(".")[0] if isinstance(info.opt_class, str) else ""
    if package and find_spec(package) is None:
        return f"optimizer {name!r} needs the package {package}, which is not installed"
    return f"optimizer {name!r} needs second derivatives, which training does not take" if info.second_order else ""


@cache
def options_of(name: str) -> frozenset[str]:
    """Those that an optimizer has, beside the learning rate."""
    if name in TORCH:
        return frozenset(TORCH[name])
    from timm import optim

    info = optim.get_optimizer_info(name)
    found = inspect.signature(optim.get_optimizer_class(name, bind_defaults=False)).parameters.keys() & set(OPTIONS)
    # Options that timm takes out without a word; Adafactor's second beta is one, whatever its signature says.
    silent = {"eps": not info.has_eps, "betas": not info.has_betas or info.opt_class is optim.Adafactor}
    return frozenset(option for option in found if not silent.get(option))


def _betas(name: str) -> int:
    if name in TORCH:
        return 2
    from timm import optim

    count: int = optim.get_optimizer_info(name).num_betas
    return count
