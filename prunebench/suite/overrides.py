"""`--set`, which changes a suite before it is validated, and `--only`, which selects trials."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

from prunebench.api.tasks import Suite, Trial
from prunebench.messages.suggestions import choices, near, shown
from prunebench.records.results import PROFILE
from prunebench.suite.document import MAX_DEPTH, composed
from prunebench.suite.nodes import Keys, Location, Node, SuiteErrors, written

PROFILES = "profiles"
"""The key of a suite with its profiles."""
Predicate = Callable[[Trial], bool]
KEYS = ("task", "method", "sparsity", "seed")


def apply(settings: Sequence[str], root: Node, errors: SuiteErrors) -> None:
    """Change the nodes of a suite by settings `path=value`, in their order; each value is YAML.

    A part of the path is a key or the index of an item of a list; without an index, all items are changed:
    `tasks.0.recipe.epochs=2`, `tasks.recipe.epochs=2`. Keys that are not in the file are added.
    """
    for order, setting in enumerate(settings, 1):
        if profile_of(setting) is not None:  # applied before
            continue
        location = Location(order, 0, 0, f"--set {setting}")
        path, equals, text = setting.partition("=")
        keys = path.strip().split(".")
        if not (equals and all(keys) and len(keys) <= MAX_DEPTH):
            errors.at(location, "write it as path=value, such as seeds=1 or tasks.recipe.epochs=2")
            continue
        if keys[0] == PROFILES:
            errors.at(location, "profiles are changed in the file only; set the values themselves")
            continue
        before = len(errors)
        value = composed(text, location, errors)
        if value is not None and len(errors) == before and isinstance(root.value, dict):
            Setting(location, value.plain(), errors).put(root, keys)


def profile_of(setting: str) -> str | None:
    """The name of the profile that a setting selects; None for any other setting."""
    path, equals, name = setting.partition("=")
    return name.strip() if equals and path.strip() == PROFILE else None


def option_of(setting: str) -> tuple[str, str]:
    """A setting as an option and its value: `--profile quick`, or `--set seeds=1`."""
    profile = profile_of(setting)
    return ("--set", setting) if profile is None else ("--profile", profile)


def values_at(node: Node, keys: Sequence[str]) -> Iterator[object]:
    """The plain values at a path: one for each item of a list that has no index in the path."""
    if not keys:
        yield node.plain()
    elif isinstance(node.value, list) and not keys[0].isdecimal():
        for item in node.value:
            yield from values_at(item, keys)
    elif isinstance(node.value, dict) or (isinstance(node.value, list) and int(keys[0]) < len(node.value)):
        child = node.get(int(keys[0]) if isinstance(node.value, list) else keys[0])
        if child is not None:
            yield from values_at(child, keys[1:])


@dataclass(frozen=True)
class Setting:
    """A value to be put at a path, and where that is written."""

    location: Location
    value: object
    errors: SuiteErrors

    def put(self, node: Node, keys: Sequence[str]) -> None:
        """Set the value at the end of `keys`, starting at `node`."""
        _expand_name(node)
        if isinstance(node.value, dict):
            self._fill(node, node.value, keys[0], keys[1:])
        elif not isinstance(node.value, list):
            self._refuse(node, f"is {shown(node.value)}, which has no {shown(keys[0])}")
        elif not (keys[0].isascii() and keys[0].isdecimal()):
            for item in node.value:
                self.put(item, keys)
        elif len(keys[0]) > 6 or int(keys[0]) >= len(node.value):
            self._refuse(node, f"has {len(node.value)} items, counted from 0: there is no {keys[0]}")
        else:
            self._fill(node, node.value, int(keys[0]), keys[1:])

    def _fill(self, node: Node, values: dict[str, Node] | list[Node], key: str | int, rest: Sequence[str]) -> None:
        path: Keys = (*node.path, key)
        child = node.get(key)
        if rest and child is not None and child.value is not None:
            self.put(child, rest)
            return
        values[key] = Node.of({} if rest else self.value, self.location, path)  # type: ignore[index]
        if rest:
            self.put(values[key], rest)  # type: ignore[index]

    def _refuse(self, node: Node, message: str) -> None:
        self.errors.at(self.location, f"{written(node.path)} {message}")


def _expand_name(node: Node) -> None:
    """Convert the name of a component to a mapping, so that its parameters can be set."""
    named = node.path[-1:] in (("dataset",), ("model",), ("by",)) or node.path[:-1] == ("methods",)
    if named and isinstance(node.value, str):
        node.value = {"name": Node(node.value, node.location, (*node.path, "name"), node.location, node.broken)}


def narrow(suite: Suite, only: Sequence[str]) -> Predicate:
    """The predicate that selects a suite's trials by `--only` options: `filter(narrow(suite, only), suite.trials())`.

    An option is `key=value,key=value`, with the keys task, method, sparsity and seed; a value without a key has the
    one before it (`method=imp,random`). Values of one key are alternatives; all keys have to match. A method is
    selected by its label, by a pattern of labels (`imp-*`), or else by its name. Controls are selected by task and seed
    only.

    Raises:
        SuiteError: for each key and value that no trial of the suite has, or no trial that the other values leave.
    """
    errors = SuiteErrors()
    wanted: dict[str, set[object]] = {}
    requested: list[tuple[Location, str, str, Sequence[object]]] = []
    for order, option in enumerate(only, 1):
        location = Location(order, 0, 0, f"--only {option}")
        for key, value in _pairs(option, location, errors):
            found = _FINDERS[key](suite, value)
            if not found:
                errors.at(location, f"the suite has no {key} {shown(value)}{_hint(suite, key, value)}")
            wanted.setdefault(key, set()).update(found)
            requested.append((location, key, value, found))
    errors.report()
    left = [_values(trial) for trial in suite.trials() if _selected(wanted, trial)] if requested else []
    for location, key, value, found in requested:
        if not any(actual[key] in found for actual in left):
            errors.at(location, f"no trial with {key} {shown(value)} matches the other values")
    errors.report()
    return partial(_selected, wanted)


def unlisted(suite: Suite, only: Sequence[str], names: Iterable[str]) -> list[str]:
    """The names among `names` that `--only` options select and the suite does not list."""
    listed = {name for entry in suite.entries for name in (entry.label, entry.method.name)}
    pairs = (pair for option in only for pair in _pairs(option, Location(0, 0, 0, ""), SuiteErrors()))
    unknown = dict.fromkeys(value for key, value in pairs if key == "method" and value not in listed)
    return [name for name in unknown if name in set(names)]


def _values(trial: Trial) -> dict[str, object]:
    """The value of each key for a trial."""
    return {"task": trial.task.label, "method": trial.entry.label, "sparsity": trial.sparsity, "seed": trial.seed}


def _selected(wanted: Mapping[str, set[object]], trial: Trial) -> bool:
    keys = {"task", "seed"} if trial.entry.method.control else KEYS
    actual = _values(trial)
    return all(actual[key] in wanted[key] for key in wanted.keys() & set(keys))


def _pairs(option: str, location: Location, errors: SuiteErrors) -> Iterator[tuple[str, str]]:
    key = ""
    for part in option.split(","):
        word, equals, value = (text.strip() for text in part.rpartition("="))
        key = word if equals else key
        if not key or not value:
            errors.at(location, "write it as key=value,key=value, such as method=imp,seed=0")
        elif key not in KEYS:
            errors.at(location, f"unknown key {shown(key)}{near(key, KEYS)}")
        else:
            yield key, value


def _labels(labels: Iterable[str], value: str) -> list[str]:
    labels = list(labels)
    return [value] if value in labels else [label for label in labels if fnmatchcase(label, value)]


def _methods(suite: Suite, value: str) -> list[str]:
    found = _labels((entry.label for entry in suite.entries), value)
    return found or [entry.label for entry in suite.entries if fnmatchcase(entry.method.name, value)]


def _numbers(numbers: Iterable[float], value: str) -> list[float]:
    try:
        return [number for number in numbers if number == float(value)]
    except ValueError:
        return []


def _sparsities(suite: Suite) -> list[float]:
    """All sparsities of the trials, those of the suite before those of single entries."""
    own = (number for entry in suite.entries for number in entry.sparsities or ())
    reduced = suite.reductions.sparsities if suite.reductions else ()
    return list(dict.fromkeys([*suite.sparsities, *reduced, *own]))


_FINDERS: Mapping[str, Callable[[Suite, str], Sequence[object]]] = {
    "task": lambda suite, value: _labels((task.label for task in suite.tasks), value),
    "method": _methods,
    "sparsity": lambda suite, value: _numbers(_sparsities(suite), value),
    "seed": lambda suite, value: _numbers(suite.seeds, value),
}


def _hint(suite: Suite, key: str, value: str) -> str:
    if key in ("sparsity", "seed"):  # numbers that are spelled similarly are not similar
        return choices([str(number) for number in (_sparsities(suite) if key == "sparsity" else suite.seeds)])
    names = [entry.method.name for entry in suite.entries]
    labels = [one.label for one in (suite.tasks if key == "task" else suite.entries)]
    return near(value, list(dict.fromkeys([*labels, *(names if key == "method" else ())])))
