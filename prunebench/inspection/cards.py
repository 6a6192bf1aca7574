"""The card of a delivered network: what it is, how it was made, and what was measured of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Len

from prunebench.api.objectives import Metric
from prunebench.api.runtimes import Runtime

CARD = "card.json"
SHOWN = ("input", "inputs", "mean", "std", "vocabulary")
"""What a page shows of a network's inputs."""
PAGE = """\
# {trial} in {label}

{metric}, measured in this runtime on the test set{difference}. {sparsity} of the prunable weights are zero.{size}
{notes}
| examples in a pass | milliseconds | dense network | dense network in INT8 | dense / this |
|---:|---:|---:|---:|---:|
{rows}

Medians of passes that were timed alternately, ± their interquartile ranges, with {threads} thread{s} on {machine}.

## Read it back

```python
{reading}
```

`inputs` is a tensor of shape (examples, {shape}): {inputs}.{program}

## Files

{files}

## How it was made

```bash
{command}
```

`card.json` has all of this and the versions of the software for programs.
"""


PROGRAM = """ Or, with `prunebench` installed:

```python
import prunebench
outputs = prunebench.load_program("this folder")(inputs)
```"""


@dataclass(frozen=True, kw_only=True)
class File:
    """A delivered file."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    bytes: Annotated[int, Ge(0)]
    sha256: Annotated[str, Len(64, 64)]


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a delivered network is; `card.json` in its folder."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    format: Literal[1] = 1
    trial: str
    """task/method/sparsity/seed."""
    command: str
    """What makes it again."""
    runtime: dict[str, Any]
    """Its name, label and parameters."""
    network: dict[str, Any]
    """What its inputs and outputs are."""
    sparsity: float
    """Share of the prunable weights that is zero."""
    figures: dict[str, float]
    """Of the network in this runtime; see `prunebench.records.results.IN_RUNTIME`."""
    notes: dict[str, str]
    """Remarks on them."""
    environment: dict[str, str]
    """The machine and the versions that it was measured with."""
    files: dict[str, File]
    """By name."""


def page(card: Card, runtime: Runtime, metrics: Sequence[Metric]) -> str:
    """The card as Markdown, for people."""
    figures, threads = card.figures, int(card.figures["threads"])
    return PAGE.format(
        trial=card.trial,
        label=card.runtime["label"],
        metric=", ".join(f"{one.label} {one.shown(figures[one.name])}" for one in metrics),
        difference=f"; its outputs differ from torch's by at most {figures['difference_relative']:.1e} of the largest",
        sparsity=f"{card.sparsity:.2%}",
        size=_size(figures),
        notes="".join(f"\nNote: {note}.\n" for note in card.notes.values()),
        rows="\n".join(_rows(figures)),
        threads=threads,
        s="s" * (threads > 1),
        machine=card.environment["machine"],
        reading=runtime.reading,
        program=PROGRAM if can_load(runtime) else "",
        shape=", ".join(map(str, card.network.get("shape", ["..."]))),
        inputs=json.dumps({key: value for key, value in card.network.items() if key in SHOWN}),
        files="\n".join(f"- `{name}`: {file.bytes:,} bytes" for name, file in card.files.items()),
        command=card.command,
    )


def _size(figures: dict[str, float]) -> str:
    """Its parameters and its memory beside the dense network's, where they are known."""
    known = {
        "It has {} of the dense network's {} parameters.": ("parameters", "{:,.0f}", 1.0),
        "It takes {} MB of memory, and the dense network {} MB.": ("peak_memory_bytes", "{:.1f}", 1e6),
    }
    found = ""
    for sentence, (name, form, unit) in known.items():
        own, dense = figures.get(name), figures.get(f"{name}_dense")
        if own is not None and dense is not None:
            found += " " + sentence.format(form.format(own / unit), form.format(dense / unit))
    return found


def can_load(runtime: Runtime) -> bool:
    """Whether a runtime reads its files back by itself; those of others need the code of the model."""
    return type(runtime).load is not Runtime.load


def _rows(figures: dict[str, float]) -> Iterator[str]:
    """A row for each batch size."""
    batches = [int(name.rpartition("/")[2]) for name in figures if name.startswith("latency_ms/")]
    for batch in sorted(batches):
        dense = figures.get(f"latency_ms_dense/{batch}")
        ratio = f"{dense / figures[f'latency_ms/{batch}']:.2f}×" if dense else ""
        kinds = [_milliseconds(figures, ending, batch) for ending in ("", "_dense", "_int8")]
        yield f"| {batch} | {' | '.join(kinds)} | {ratio} |"


def _milliseconds(figures: dict[str, float], ending: str, batch: int) -> str:
    median, spread = (figures.get(f"latency_ms{ending}{which}/{batch}") for which in ("", "_iqr"))
    return "not measured" if median is None else f"{median:.3g} ± {spread:.2g}"


def latency_lines(card: Card, metrics: Sequence[Metric]) -> Iterator[str]:
    """What was measured, in a line for the metrics and one for each batch size."""
    figures = card.figures
    yield ", ".join(f"{one.label} {one.shown(figures[one.name])}" for one in metrics) + " in this runtime"
    batches = sorted(int(name.rpartition("/")[2]) for name in figures if name.startswith("latency_ms/"))
    for batch in batches:
        own, dense = figures[f"latency_ms/{batch}"], figures.get(f"latency_ms_dense/{batch}")
        beside = f", {dense / own:.2f} times as fast as the dense network" if dense else ""
        yield f"{own:.3g} ms for {batch} example{'s' * (batch > 1)}{beside}"
    yield from card.notes.values()
