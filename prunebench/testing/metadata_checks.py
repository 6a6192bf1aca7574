"""Checks of a method as a whole: what it says of itself, its parameters, what it can do at all."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from prunebench.api.errors import PrunebenchError, Unreachable
from prunebench.api.identity import digest
from prunebench.api.methods import Method
from prunebench.api.registry import NAME, Plugin
from prunebench.api.tasks import Trial
from prunebench.suite.checking import dumped, exact
from prunebench.suite.descriptions import Parameter, describe
from prunebench.suite.descriptions import parameters as parameters_of
from prunebench.suite.reading import trial_to_plain
from prunebench.testing.chain_checks import delivered, delivers, delivery, difference
from prunebench.testing.harness import SHORT, Case, Harness, attributes_of, nodes_of, performed, raised
from prunebench.testing.verdicts import Nonconformity, NotApplicable, warn


def listing(lab: Harness) -> None:
    """Its name can stand in a suite, and its presets are valid; it has a text and a paper."""
    cls = type(lab.method)
    if not NAME.fullmatch(lab.method.name):
        raise Nonconformity(f"{lab.method.name!r} is no name: use lower-case letters, digits, dots and hyphens")
    for name, preset in cls.presets.items():
        try:
            exact(cls, dict(preset.values))
        except ValueError as error:
            raise Nonconformity(f"preset {name!r} has values that the parameters do not allow: {error}") from None
    described = describe("method", cls, Plugin(lab.method.name))
    if not described.summary:
        warn("the class has no docstring: its first line is what the listings say")
    if not (described.reference or cls.control):
        warn('it names no paper: write reference = "..." in the class')
    for parameter in described.parameters:
        if not parameter.description:
            warn(f"parameter {parameter.name!r} has no text: annotate its type with Doc(...)")


def reach(lab: Harness) -> None:
    """One of the sparsities can be reached on one of the networks, or it delivers what others pruned."""
    reason = "there is no network"
    for network in lab.networks:
        try:
            if delivers(lab.method):
                nodes_of(delivery(lab, network))
            elif isinstance(error := lab.watched(network).error, Unreachable):
                raise error
        except Unreachable as error:
            reason = f"none of {', '.join(f'{target:g}' for target in lab.targets)} can be reached: {error}"
        except Exception:  # which the check of the chain is about
            return
        else:
            return
    raise Nonconformity(f"nothing could be run: {reason}")


def parameters(lab: Harness) -> str:
    """They can be written to JSON and read again, and each is in the keys."""
    if not lab.networks:
        raise NotApplicable("there is no network")
    trial = lab.trial(Case(network=lab.networks[0], sparsity=lab.targets[0], steps=SHORT))
    try:
        digest(lab.method)
        json.dumps(trial_to_plain(trial), allow_nan=False)
        again = lab.again(trial)
    except (TypeError, ValueError, PrunebenchError) as error:
        raise Nonconformity(f"the parameters cannot be written to JSON and read again: {error}") from None
    if again != trial:
        raise Nonconformity(f"the parameters are others when they come back from JSON: {again.entry.method}")
    for name in attributes_of(lab.method).keys() - {one.name for one in dataclasses.fields(lab.method)}:
        raise Nonconformity(f"{name!r} is kept on the method and no parameter, so that no key has it: annotate it")
    untried = [one.name for one in parameters_of(type(lab.method)) if not _is_in_the_key(lab, one)]
    return f"not tried with another value: {', '.join(untried)}" if untried else ""


def _is_in_the_key(lab: Harness, parameter: Parameter) -> bool:
    """Whether another value could be tried; raises for one that changes results and no key, warns of a useless one."""
    for changed in _changed(lab.method, parameter):
        other = Harness(changed, lab.networks)
        keys, others = list(_keys(lab)), list(_keys(other))
        if keys != others:
            return True
        if any(keys):
            _compare(lab, other, parameter.name)
            return True
    return False


def _compare(lab: Harness, other: Harness, parameter: str) -> None:
    one, another = (next(trial for trial in _trials(each) if _chain(trial)) for each in (lab, other))
    found = difference(raised(performed(one)), raised(performed(another)))
    if found:
        raise Nonconformity(f"parameter {parameter!r} changes results, and is in no key: {found}")
    warn(f"parameter {parameter!r} changes nothing here")


def _keys(lab: Harness) -> Iterator[tuple[str, ...]]:
    """Of the chains on every network; no keys where a target cannot be reached."""
    return (_chain(trial) for trial in _trials(lab))


def _trials(lab: Harness) -> Iterator[Trial]:
    for network in lab.networks:
        for sparsity in lab.targets:
            trial = lab.trial(Case(network=network, sparsity=sparsity, steps=SHORT))
            yield delivered(trial) if delivers(lab.method) else trial


def _chain(trial: Trial) -> tuple[str, ...]:
    try:
        return tuple(node.key for node in nodes_of(trial))
    except PrunebenchError:
        return ()


def _changed(method: Method, parameter: Parameter) -> Iterator[Method]:
    """The method with other values of a parameter, such as are allowed."""
    given = dumped(method)
    for value in _others(getattr(method, parameter.name), parameter):
        try:
            changed = exact(type(method), given | {parameter.name: value})
        except (TypeError, ValueError):
            continue
        if changed != method or getattr(changed, parameter.name) != getattr(method, parameter.name):
            yield changed


def _others(value: Any, parameter: Parameter) -> Iterator[Any]:
    """Values near a parameter's own, and some that are not."""
    yield from parameter.choices
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, (int, float)):
        yield from (value / 2, (value + 1) / 2, value + 1, value - 1)
    elif isinstance(value, tuple) and value:
        yield from ([*value, value[-1]], value[:-1])
    yield from ("7it", "50%", 1, 2, 0.5, True)
