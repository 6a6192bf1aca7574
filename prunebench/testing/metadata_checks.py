"""Checks of a method as a whole: its metadata, its parameters, and whether it can run at all."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from prunebench.api.errors import PrunebenchError, Unreachable
from prunebench.api.methods import Method
from prunebench.api.registry import NAME, Plugin
from prunebench.api.tasks import Trial
from prunebench.records.keys import digest
from prunebench.suite.checking import dumped, exact
from prunebench.suite.descriptions import Parameter, describe
from prunebench.suite.descriptions import parameters as parameters_of
from prunebench.suite.reading import trial_to_plain
from prunebench.testing.chain_checks import delivered, delivers, delivery, difference
from prunebench.testing.harness import SHORT, Case, Harness, attributes_of, nodes_of, performed, raised
from prunebench.testing.verdicts import Nonconformity, NotApplicable, warn


def listing(harness: Harness) -> None:
    """Its name can stand in a suite, and its presets are valid; it has a text and a paper."""
    cls = type(harness.method)
    if not NAME.fullmatch(harness.method.name):
        raise Nonconformity(
            f"{harness.method.name!r} is not a valid name: use lower-case letters, digits, dots and hyphens"
        )
    for name, preset in cls.presets.items():
        try:
            exact(cls, dict(preset.values))
        except ValueError as error:
            raise Nonconformity(f"preset {name!r} has values that the parameters do not allow: {error}") from None
    described = describe("method", cls, Plugin(harness.method.name))
    if not described.summary:
        warn("the class has no docstring: its first line is what the listings say")
    if not (described.reference or cls.control):
        warn('it names no paper: write reference = "..." in the class')
    for parameter in described.parameters:
        if not parameter.description:
            warn(f"parameter {parameter.name!r} has no text: annotate its type with Doc(...)")


def reach(harness: Harness) -> None:
    """One of the sparsities can be reached on one of the networks, or it delivers what others pruned."""
    reason = "there is no network"
    for network in harness.networks:
        try:
            if delivers(harness.method):
                nodes_of(delivery(harness, network))
            elif isinstance(error := harness.watched(network).error, Unreachable):
                raise error
        except Unreachable as error:
            reason = f"none of {', '.join(f'{target:g}' for target in harness.targets)} can be reached: {error}"
        except Exception:  # which the check of the chain is about
            return
        else:
            return
    raise Nonconformity(f"nothing could be run: {reason}")


def parameters(harness: Harness) -> str:
    """They can be written to JSON and read again, and each is in the keys."""
    if not harness.networks:
        raise NotApplicable("there is no network")
    trial = harness.trial(Case(network=harness.networks[0], sparsity=harness.targets[0], steps=SHORT))
    try:
        digest(harness.method)
        json.dumps(trial_to_plain(trial), allow_nan=False)
        again = harness.again(trial)
    except (TypeError, ValueError, PrunebenchError) as error:
        raise Nonconformity(f"the parameters cannot be written to JSON and read again: {error}") from None
    if again != trial:
        raise Nonconformity(f"the parameters are others when they come back from JSON: {again.entry.method}")
    for name in attributes_of(harness.method).keys() - {one.name for one in dataclasses.fields(harness.method)}:
        raise Nonconformity(
            f"{name!r} is an attribute of the method and not a parameter, so that no key contains it: annotate it"
        )
    untried = [one.name for one in parameters_of(type(harness.method)) if not _is_in_the_key(harness, one)]
    return f"not tried with another value: {', '.join(untried)}" if untried else ""


def _is_in_the_key(harness: Harness, parameter: Parameter) -> bool:
    """Whether another value could be tried; raises for one that changes results and no key, warns of a useless one."""
    for changed in _changed(harness.method, parameter):
        other = Harness(changed, harness.networks)
        keys, others = list(_keys(harness)), list(_keys(other))
        if keys != others:
            return True
        if any(keys):
            _compare(harness, other, parameter.name)
            return True
    return False


def _compare(harness: Harness, other: Harness, parameter: str) -> None:
    one, another = (next(trial for trial in _trials(each) if _chain(trial)) for each in (harness, other))
    found = difference(raised(performed(one)), raised(performed(another)))
    if found:
        raise Nonconformity(f"parameter {parameter!r} changes results, and is in no key: {found}")
    warn(f"parameter {parameter!r} changes nothing here")


def _keys(harness: Harness) -> Iterator[tuple[str, ...]]:
    """Of the chains on every network; no keys where a target cannot be reached."""
    return (_chain(trial) for trial in _trials(harness))


def _trials(harness: Harness) -> Iterator[Trial]:
    for network in harness.networks:
        for sparsity in harness.targets:
            trial = harness.trial(Case(network=network, sparsity=sparsity, steps=SHORT))
            yield delivered(trial) if delivers(harness.method) else trial


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
