"""Trials that train by other values than the task's recipe: those of their entry, and those that `tune` tries.

Of a tuned trial these are its candidates, the stage that chooses one, and what their chains have in common.

Each candidate is a trial with its own chain of stages, which are shared, stored and resumed like those of other trials.
One node follows that reads the last states of all chains.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, Protocol

from prunebench.api.stages import Stage
from prunebench.api.tasks import Recipe, Trial, Tuning
from prunebench.records.keys import canonical, digest

RECIPE = "recipe."
"""Beginning of names in a space that are of the recipe: `recipe.optimizer.lr`."""


@dataclass(frozen=True)
class Choose(Stage):
    """Take the state of the candidate with the best metric on the validation split; it costs what all of them did.

    Args:
        metric: name of the metric.
        sign: 1 if more is better, -1 if less is.
        candidates: what each of them changes, as text. The first one of several that are equal is taken.
    """

    metric: str
    sign: int
    candidates: tuple[str, ...]


AS_WRITTEN = "as written"
"""The first candidate, which changes nothing."""


def with_own_recipe(trial: Trial) -> Trial:
    """The trial whose task has the values of its entry's `recipe`."""
    if not trial.entry.recipe:
        return trial
    return _at(replace(trial, entry=replace(trial.entry, recipe=())), dict(trial.entry.recipe))


def candidates(trial: Trial) -> dict[str, Trial]:
    """The candidates of a tuned trial, by what they change: the trial as it is written, then points of the space.

    All points are used if there are few enough; otherwise `trials` - 1 of them, drawn by the seed of the trial.
    """
    tuning = trial.entry.tune
    assert tuning is not None, f"{trial} is not tuned"
    plain = replace(trial, entry=replace(trial.entry, tune=None), measure=None)
    found = {AS_WRITTEN: plain}
    for point in _drawn(list(_points(tuning)), tuning.trials, trial.seed):
        candidate = _at(plain, point)
        if candidate not in found.values():
            found[words(point)] = candidate
    return {text: one if text == AS_WRITTEN else _labelled(one, text) for text, one in found.items()}


def _labelled(trial: Trial, text: str) -> Trial:
    """The trial with its values in its label, for messages about it."""
    return replace(trial, entry=replace(trial.entry, label=f"{trial.entry.label} ({text})"))


def _points(tuning: Tuning) -> Iterator[dict[str, Any]]:
    names = [name for name, _ in tuning.space]
    for values in itertools.product(*(values for _, values in tuning.space)):
        yield dict(zip(names, values, strict=True))


def _drawn(points: Sequence[dict[str, Any]], trials: int, seed: int) -> list[dict[str, Any]]:
    """As many points as leave room for what is written, in their order."""
    if len(points) < trials:
        return list(points)
    order = sorted(range(len(points)), key=lambda place: digest("tune", seed, canonical(points[place])))
    return [points[place] for place in sorted(order[: trials - 1])]


def _at(trial: Trial, point: Mapping[str, Any]) -> Trial:
    """The trial with the values of a point."""
    method, recipe = trial.entry.method, trial.task.recipe
    for name, value in point.items():
        if name.startswith(RECIPE):
            recipe = changed(recipe, name.removeprefix(RECIPE).split("."), value)
        else:
            method = replace(method, **{name: value})
    task = (
        trial.task if recipe == trial.task.recipe else replace(trial.task, recipe=recipe).with_facts(trial.task.facts)
    )
    return replace(trial, task=task, entry=replace(trial.entry, method=method))


def changed(recipe: Recipe, path: Sequence[str], value: Any) -> Recipe:
    """The recipe with another value at a path, such as ["optimizer", "lr"]."""

    def at(part: Any, names: Sequence[str]) -> Any:
        head, *rest = names
        return replace(part, **{head: at(getattr(part, head), rest) if rest else value})

    found: Recipe = at(recipe, path)
    return found


def words(point: Mapping[str, Any]) -> str:
    """The values of a point as text, such as `lr=0.01, start=10%`."""
    short = [name.rpartition(".")[2] for name in point]
    names = short if len(set(short)) == len(short) else list(point)
    return ", ".join(f"{name}={_word(value)}" for name, value in zip(names, point.values(), strict=True))


def _word(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(value) if is_dataclass(value) else json.dumps(value, default=str)


class Point(Protocol):
    """What `shared` reads of a node."""

    @property
    def key(self) -> str: ...
    @property
    def trajectory(self) -> str: ...
    @property
    def stop(self) -> int: ...


def shared(chains: Sequence[Sequence[Point]]) -> tuple[str, ...]:
    """Of each chain but the first the key of the last state that it has in common with those before it, if any.

    The costs of the ends, less those of these states, are what all chains cost together.
    """
    found, seen = list[str](), dict[str, Point]()
    for chain in chains:
        common = next((key for point in reversed(chain) if (key := _known(point, seen))), "")
        if common:
            found.append(common)
        seen |= {point.key: point for point in chain}
    return tuple(found)


def _known(point: Point, seen: Mapping[str, Point]) -> str:
    """The key of the last state up to this point that others pass as well: its own, or one before it in its training.

    A training that goes on from there passes through the point, wherever its chain stops.
    """
    same = [one for one in seen.values() if point.trajectory and one.trajectory == point.trajectory]
    if point.key in seen or any(one.stop >= point.stop for one in same):
        return point.key
    return max(same, key=lambda one: one.stop).key if same else ""
