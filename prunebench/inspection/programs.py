"""Delivered networks: a folder with the files of a runtime and a card, and reading one back."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prunebench.api import plugins
from prunebench.api.errors import PluginError, PrunebenchError, SuiteError
from prunebench.api.registry import Registry
from prunebench.api.runtimes import Latency, Measure, RuntimeEntry
from prunebench.data.inputs import Inputs
from prunebench.execution.measuring.runtimes import Deployed, check_installed, measured_in_runtimes, size_of
from prunebench.execution.measuring.timing import dense_network
from prunebench.execution.performing import finished_network
from prunebench.inspection.cards import CARD, Card, File, can_load, page
from prunebench.inspection.exports import metadata
from prunebench.inspection.trials import Finished
from prunebench.network.delivery import FinishedNetwork
from prunebench.records.environment import describe_environment
from prunebench.records.results import RUNTIME
from prunebench.suite.annotations import adapter, first_error
from prunebench.suite.lookup import to_plain
from prunebench.suite.nodes import Location, Node, SuiteErrors
from prunebench.suite.sections.runtimes import runtime_entry

PAGE = "README.md"
MOST_CARD = 2**20
"""Bytes that a card may have."""


def deliver(finished: Finished, folder: Path, entry: RuntimeEntry, latency: Latency, command: str) -> Card:
    """Write a trial's network as a runtime runs it, with a card, and measure it.

    Raises PrunebenchError if the runtime is not installed or cannot run the network, or the folder cannot be written.
    """
    if not entry.runtime.reading:
        raise PrunebenchError(f"runtime {entry.label!r} is for measurements, and its files cannot be delivered")
    check_installed([entry.runtime])
    _check_empty(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as aside:
            inner = Path(aside) / "files"
            inner.mkdir()
            card = _card(finished, inner, entry, latency, command)
            text = json.dumps(adapter(Card).dump_python(card, mode="json"), indent=2, sort_keys=True)
            (inner / CARD).write_text(text + "\n", "utf-8")
            (inner / PAGE).write_text(page(card, entry.runtime, finished.trial.task.metrics), "utf-8")
            if folder.exists():
                folder.rmdir()
            inner.rename(folder)
    except OSError as error:
        raise PrunebenchError(f"cannot write {folder}: {error.strerror or error}") from None
    return card


def _card(finished: Finished, folder: Path, entry: RuntimeEntry, latency: Latency, command: str) -> Card:
    """Write the files of a runtime to a folder, and measure the program that is read from them."""
    context, threads, prefix = finished.context, latency.threads, f"{RUNTIME}{entry.label}"
    network, dense = finished_network(finished.end, context, threads), dense_network(context, threads)
    found = measured_in_runtimes(Measure((entry,), latency), network, dense, context.data, folder)
    if prefix in found.notes:
        raise PrunebenchError(f"runtime {entry.label!r} cannot run {finished.trial}: {found.notes[prefix]}")
    figures = {name.removeprefix(f"{prefix}/"): value for name, value in found.figures.items()}
    return Card(
        trial=str(finished.trial),
        command=command,
        runtime={**to_plain(entry.runtime), "label": entry.label},
        network=metadata(finished),
        sparsity=network.zeros,
        figures=figures | {"parameters": _count(network), "parameters_dense": _count(dense)},
        notes={name.removeprefix(f"{prefix}/"): note for name, note in found.notes.items()},
        environment=describe_environment(threads),
        files={
            path.relative_to(folder).as_posix(): _file(path) for path in sorted(folder.rglob("*")) if path.is_file()
        },
    )


def _count(network: FinishedNetwork) -> float:
    """Parameters, zeros among them."""
    return float(sum(parameter.numel() for parameter in network.module.parameters()))


def _check_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PrunebenchError(f"{folder} exists and is not an empty folder: name another one with --output")


def _file(path: Path) -> File:
    content = path.read_bytes()
    return File(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def load_program(
    folder: str | os.PathLike[str], threads: int = 1, plugin_files: Sequence[str | os.PathLike[str]] = ()
) -> Callable[[Inputs], Any]:
    """Read a network that `prunebench export --runtime` wrote; the result maps a batch of inputs to outputs.

    All files must be those that the card names, byte for byte. Load only what you trust: a program can be made to do
    anything that its runtime can, and who changes a file can change the card too.

    Args:
        folder: the one that was written.
        threads: the number of threads of a pass.
        plugin_files: plugins that are not installed, if the runtime comes from one.

    Raises PrunebenchError for a folder that is not such a network, is damaged, or whose runtime is not installed.
    """
    path = Path(folder)
    card = read_card(path)
    entry = _entry(card, path, plugins.load(plugins.loose_files(plugin_files)))
    if not can_load(entry.runtime):
        raise PrunebenchError(
            f"{path}: the files of runtime {entry.runtime.name!r} need the code of the model; {PAGE} has the lines"
        )
    check_installed([entry.runtime])
    for name, expected in card.files.items():
        _check_file(path, name, expected)
    return Deployed(entry.runtime, entry.runtime.load(path, threads), path, size_of(path)).run


def read_card(folder: Path) -> Card:
    """The card of a delivered network. Raises PrunebenchError for what is none."""
    path = folder / CARD
    try:
        with path.open("rb") as file:
            content = file.read(MOST_CARD + 1)
    except OSError as error:
        raise PrunebenchError(f"{folder} is not a delivered network: {path} cannot be read: {error.strerror}") from None
    if len(content) > MOST_CARD:
        raise PrunebenchError(f"{path} is not the card of a delivered network: it is larger than {MOST_CARD:,} bytes")
    try:
        card: Card = adapter(Card).validate_json(content, strict=True)
    except ValidationError as error:
        raise PrunebenchError(f"{path} is not the card of a delivered network: {first_error(error)}") from None
    return card


def _entry(card: Card, folder: Path, registry: Registry) -> RuntimeEntry:
    """The runtime that a card names. Raises PrunebenchError if no plugin has it."""
    errors = SuiteErrors()
    entry = runtime_entry(Node.of(card.runtime, Location(0, 0, 0, str(folder / CARD))), registry, errors)
    try:
        errors.report()
    except (SuiteError, PluginError) as error:
        raise PrunebenchError(" ".join(str(error).split())) from None
    assert entry is not None
    return entry


def _check_file(folder: Path, name: str, expected: File) -> None:
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise PrunebenchError(f"{folder / CARD} names {name!r}, which is not a file of this folder")
    try:
        found = _file(path)
    except OSError as error:
        raise PrunebenchError(f"{path} cannot be read: {error.strerror}") from None
    if found != expected:
        raise PrunebenchError(f"{path} is damaged: its bytes are not those that {CARD} names")
