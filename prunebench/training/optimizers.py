"""Which optimizers a recipe can name, and which options each has; an option that it would ignore is an error."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec

from prunebench.api.errors import PrunebenchError
from prunebench.api.tasks import Optimizer
from prunebench.messages.suggestions import near, shown
from prunebench.training.installed_optimizers import is_path, optimizer_class

TORCH: Mapping[str, tuple[str, ...]] = {
    "sgd": ("momentum", "nesterov", "weight_decay"),
    "adam": ("betas", "eps", "weight_decay"),
    "adamw": ("betas", "eps", "weight_decay"),
}
"""Optimizers of torch, with their options besides the learning rate; those of timm are found by name."""
TRIED_STEPS, TRIED_SHAPE = 12, (144, 132)
"""Enough for optimizers that do something else every few steps, or with matrices from a certain size on."""
OPTIONS = ("momentum", "nesterov", "betas", "eps", "weight_decay")


def chosen_options(spec: Optimizer) -> dict[str, object]:
    """The options that a recipe sets; the others keep the default of the optimizer."""
    options = {name: getattr(spec, name) for name in OPTIONS}
    chosen = {name: value for name, value in options.items() if value is not None}
    if is_path(spec.name) and not spec.weight_decay and "weight_decay" not in options_of(spec.name):
        del chosen["weight_decay"]  # no decay is what an optimizer without this option does
    return chosen


def option_errors(spec: Optimizer) -> Iterator[tuple[str, str]]:
    """Errors in an optimizer's name and options, as (key, reason)."""
    if reason := _unusable(spec.name):
        yield "name", reason
        return
    known = options_of(spec.name)
    for option in chosen_options(spec):
        if option not in known:
            has = ", ".join(name for name in OPTIONS if name in known)
            yield option, f"{spec.name} has no {option}; it has lr, {has}"
    if "betas" in known and spec.betas is not None and len(spec.betas) != (count := _betas(spec.name)):
        yield "betas", f"{spec.name} has {count} betas, not {len(spec.betas)}"


def _unusable(name: str) -> str:
    """Why the optimizer cannot be used; empty if it can."""
    if name in TORCH:
        return ""
    if is_path(name):
        return _unusable_path(name)
    from timm import optim  # takes seconds to import, and is seldom needed

    names = optim.list_optimizers()
    if name not in names:
        return f"unknown optimizer {shown(name)}{near(name, [*TORCH, *names])}"
    info = optim.get_optimizer_info(name)
    package = info.opt_class.partition(".")[0] if isinstance(info.opt_class, str) else ""
    if package and find_spec(package) is None:
        return f"optimizer {name!r} needs the package {package}, which is not installed"
    if info.second_order:
        return f"optimizer {name!r} needs second derivatives, which training does not compute"
    return _unstorable(name)


@cache
def _unusable_path(name: str) -> str:
    """Why an optimizer of another distribution cannot be used, found by one step on four weights; empty if it can."""
    import torch

    from prunebench.training.optimizer_state import optimizer_tensors

    weight = torch.nn.Parameter(torch.ones(2, 2))
    weight.grad = torch.ones_like(weight)
    try:
        cls = optimizer_class(name)
        if "lr" not in inspect.signature(cls).parameters:
            return f"optimizer {name!r} has no parameter `lr`, which schedules set"
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            optimizer = cls([weight], lr=0.1)  # type: ignore[call-arg]
            optimizer.step()
        optimizer_tensors(optimizer, {"weight": weight})
    except ValueError as error:
        return str(error)
    except PrunebenchError as error:
        return f"optimizer {name!r} cannot be used: {error}"
    except Exception as error:  # of its own code
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return f"optimizer {name!r} cannot make a step as others do: {reason}"
    return ""


@cache
def _unstorable(name: str) -> str:
    """Why the state of an optimizer of timm cannot be stored, found by one step on four weights; empty if it can."""
    import torch
    from timm import optim

    from prunebench.training.optimizer_state import optimizer_tensors

    weight = torch.nn.Parameter(torch.ones(2, 2))
    weight.grad = torch.ones_like(weight)
    try:
        # Eagerly, as some optimizers compile their step, which takes minutes.
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.compiler.set_stance("force_eager"):
            warnings.simplefilter("ignore")
            optimizer = optim.create_optimizer_v2([weight], opt=name, lr=0.1)
            optimizer.step()
    except Exception:  # it may need a GPU: the training reports what fails there
        return ""
    try:
        optimizer_tensors(optimizer, {"weight": weight})
    except PrunebenchError as error:
        return f"optimizer {name!r} cannot be used: {error}"
    return ""


@cache
def trains_kept_weights(spec: Optimizer) -> bool:
    """Whether an optimizer needs only the kept weights of a pruned matrix, as a vector.

    Found by steps on such a matrix and on the vector of its kept weights, which must give the same values.
    """
    if spec.name in TORCH:
        return True
    import torch
    from timm import optim

    draws = torch.Generator().manual_seed(1)
    gradients = torch.randn(TRIED_STEPS, *TRIED_SHAPE, generator=draws)
    begun, mask = torch.randn(TRIED_SHAPE, generator=draws), torch.rand(TRIED_SHAPE, generator=draws) < 0.1
    matrix, vector = torch.nn.Parameter(begun * mask), torch.nn.Parameter(begun[mask])
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.compiler.set_stance("force_eager"):
            warnings.simplefilter("ignore")
            both = [
                optim.create_optimizer_v2([one], opt=spec.name, lr=spec.lr, **chosen_options(spec))
                for one in (matrix, vector)
            ]
            for step, drawn in enumerate(gradients):
                # Every other gradient is at right angles to each row of the weights, which some optimizers look for.
                along = (drawn * matrix.detach()).sum(1, keepdim=True) / matrix.detach().square().sum(1, keepdim=True)
                gradient = drawn - along * matrix.detach() if step % 2 else drawn
                matrix.grad, vector.grad = gradient * mask, gradient[mask]
                for optimizer in both:
                    optimizer.step()
                with torch.no_grad():
                    matrix.mul_(mask)
                if not torch.allclose(matrix[mask], vector, rtol=1e-5, atol=1e-7):
                    return False
    except Exception:  # whatever it needs that a vector is not
        return False
    return True


@cache
def options_of(name: str) -> frozenset[str]:
    """The options that an optimizer has, besides the learning rate."""
    if name in TORCH:
        return frozenset(TORCH[name])
    if is_path(name):
        return frozenset(inspect.signature(optimizer_class(name)).parameters.keys() & set(OPTIONS))
    from timm import optim

    info = optim.get_optimizer_info(name)
    found = inspect.signature(optim.get_optimizer_class(name, bind_defaults=False)).parameters.keys() & set(OPTIONS)
    # Options that timm drops silently; Adafactor's second beta is one, although it is in the signature.
    ignored = {"eps": not info.has_eps, "betas": not info.has_betas or info.opt_class is optim.Adafactor}
    return frozenset(option for option in found if not ignored.get(option))


def _betas(name: str) -> int:
    if name in TORCH:
        return 2
    if is_path(name):
        default = inspect.signature(optimizer_class(name)).parameters["betas"].default
        return len(default) if isinstance(default, tuple) else 2
    from timm import optim

    count: int = optim.get_optimizer_info(name).num_betas
    return count
