"""The command that does the work of a row again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace

from prunebench.records.results import OPTION, Result
from prunebench.suite.overrides import option_of


def row_command(results: Sequence[Result]) -> str:
    """The command of a row, for all of its seeds where runs that were asked for some of them have made it."""
    newest = max(results, key=lambda result: result.finished)
    if len({settings(result) for result in results}) == 1:
        return command(newest)
    others = [one for one in settings(newest) if not one.startswith("seeds=")]
    everything = [*others, f"seeds={sorted(result.seed for result in results)}"]
    return command(replace(newest, provenance=newest.provenance | {OPTION + "settings": json.dumps(everything)}))


def command(result: Result) -> str:
    """A line for a shell, in the folder that the suite's path is seen from; empty if no suite was recorded."""
    return _line(result, "run", [*_narrowed(result), *_changes(result), *_machine(result)])


def export_command(result: Result) -> str:
    """The line that writes a trial's network to files, without the runtime; empty if no suite was recorded."""
    trial = f"{result.task}/{result.method}/{result.sparsity:g}/{result.seed}"
    return _line(result, "export", [trial, *_changes(result)])


def _line(result: Result, name: str, options: Sequence[str]) -> str:
    file = result.provenance.get(OPTION + "file", "")
    words = ["prunebench", name, file, *options]
    # Results may come from an untrusted file: a command that is not one printable line is not shown.
    return shlex.join(words) if file and all(word.isprintable() for word in words) else ""


def settings(result: Result) -> tuple[str, ...]:
    """The `--set` options that the run had."""
    return tuple(_listed(result.provenance.get(OPTION + "settings", "[]")))


def plugins(result: Result) -> tuple[str, ...]:
    """The `--plugin` options that the run had."""
    return tuple(_listed(result.provenance.get(OPTION + "plugins", "[]")))


def _narrowed(result: Result) -> Iterator[str]:
    chosen = {"task": result.task}
    if not result.control:
        chosen |= {"method": result.method, "sparsity": repr(result.sparsity)}
    yield from ("--only", ",".join(f"{key}={value}" for key, value in chosen.items()))


def _changes(result: Result) -> Iterator[str]:
    """What the run changed of the suite, and its plugins."""
    for option, name in (("--set", "settings"), ("--plugin", "plugins"), ("--no-plugin", "blocked")):
        for value in _listed(result.provenance.get(OPTION + name, "[]")):
            yield from option_of(value) if option == "--set" else (option, value)


def _machine(result: Result) -> Iterator[str]:
    if (threads := result.provenance.get("threads", "1")) != "1":
        yield from ("--threads", threads)
    if result.provenance.get("device", "cpu") != "cpu":
        yield from ("--device", "cuda")


def _listed(text: str) -> list[str]:
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return [str(value) for value in found] if isinstance(found, list) else []
