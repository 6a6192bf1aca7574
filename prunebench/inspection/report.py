"""What is found in a trial as tables: for the terminal, and as a page with plots."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from prunebench.inspection.findings import Findings
from prunebench.inspection.plots import drawings
from prunebench.inspection.stability import STABLE, Stability
from prunebench.inspection.tickets import write_file

BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH, COLUMNS = 40, 80


@dataclass(frozen=True)
class Section:
    """A part of the report: a table, and what there is to say of it."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text: str = ""
    plot: str = ""
    """Name of its drawing."""


def sections(found: Findings) -> Iterator[Section]:
    """The report, part by part; what there is nothing of is left out."""
    yield Section("Result", ("", "", ""), tuple(_result(found)))
    if found.tuned:
        yield Section("Tuning", ("", f"validation {found.objective[0].label}", ""), tuple(_tuning(found)))
    if found.trainings:
        yield Section("Trainings", ("steps", "density", f"test {found.objective[0].label}"), tuple(_trainings(found)))
    if found.history:
        yield Section("The last training", ("", "", "from", "to"), tuple(_curves(found)), plot="curves")
    rows = tuple(
        (row.layer, f"{row.kept:,}", f"{row.size:,}", percent(row.density), bar(row.density)) for row in found.densities
    )
    yield Section("Layers", ("layer", "kept", "of", "density", ""), rows, plot="layers")
    if found.groups:
        yield Section("Groups", ("group", "of", "left", "whole"), tuple(_groups(found)))
    if found.low_rank:
        ranks = tuple((one.layer, f"{one.rank:,}", f"{one.size:,}") for one in found.low_rank)
        counted = "They are added to the outputs of the layer, and are among its weights that are kept."
        yield Section("Low-rank factors", ("beside", "rank", "weights"), ranks, counted)
    yield _movement(found)
    if found.output_errors:
        yield _output_errors(found.output_errors)
    if found.overlaps:
        yield _overlap(found)
    if found.stability is not None:
        yield _stability(found.stability)


def text(found: Findings) -> str:
    """For a terminal of 80 columns."""
    parts = [found.trial]
    for section in sections(found):
        lines = tabulate(section.rows, section.headers, "plain", disable_numparse=True, colalign=_aligned(section))
        note = textwrap.fill(section.text, COLUMNS - 2)
        parts.append("\n".join([section.title, textwrap.indent(f"{_trimmed(lines)}\n{note}".rstrip(), "  ")]))
    return "\n\n".join(parts) + "\n"


def _trimmed(lines: str) -> str:
    return "\n".join(line.rstrip() for line in lines.splitlines()).strip("\n")


def markdown(found: Findings) -> str:
    """A page, with its plots beside it."""
    parts = [f"# {found.trial}"]
    for section in sections(found):
        table = tabulate(
            section.rows, section.headers, tablefmt="pipe", disable_numparse=True, colalign=_aligned(section)
        )
        picture = f"![{section.title}]({section.plot}.svg)" if section.plot else ""
        parts += [f"## {section.title}", table, section.text, picture]
    return "\n\n".join(filter(None, parts)) + "\n"


def write(found: Findings, directory: Path) -> list[Path]:
    """Write README.md and its plots; the same findings give the same bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    contents = {**drawings(found), "README.md": markdown(found).encode()}
    for name, content in contents.items():
        write_file(directory / name, content)
    return [directory / name for name in contents]


def _aligned(section: Section) -> tuple[str, ...]:
    """Numbers that have a heading to the right; names, texts and bars to the left."""
    numbers = [any(row[column][:1].isdigit() for row in section.rows) for column in range(len(section.headers))]
    return tuple(
        "right" if column and header and numbers[column] else "left" for column, header in enumerate(section.headers)
    )


def _result(found: Findings) -> Iterator[tuple[str, str, str]]:
    metrics, (primary, *others) = found.metrics, found.objective
    more = ", ".join(f"{one.label} {one.shown(metrics[one.name])}" for one in others if one.name in metrics)
    yield (
        f"test {primary.label}",
        primary.shown(metrics[primary.name]),
        f"loss {metrics['loss']:.4g}{more and ', '}{more}",
    )
    kept, size = metrics["parameters_kept"], metrics["parameters_prunable"]
    yield "sparsity", percent(metrics["sparsity"]), f"{kept:,.0f} of {size:,.0f} weights are kept"
    whole = "the whole chain" if not found.tuned else "all candidates"
    yield "training cost", f"{metrics['training_cost']:.3g}×", f"of one dense training, {whole}"
    if found.structure:
        yield "structure", found.structure.split()[0], "of permuted channels; kernels need that order"


def _tuning(found: Findings) -> Iterator[tuple[str, str, str]]:
    """The candidates of a tuned trial, by what they change."""
    best = found.tuned.get("chosen")
    for place, (name, score) in enumerate(found.tuned.get("scores", {}).items()):
        yield name, found.objective[0].shown(score), "chosen" if place == best else ""


def _groups(found: Findings) -> Iterator[tuple[str, str, str, str]]:
    for one in found.groups:
        yield one.name, one.kind, f"{one.left:,}", f"{one.size:,}"


def _trainings(found: Findings) -> Iterator[tuple[str, str, str]]:
    for one in found.trainings:
        yield f"{one.start} to {one.stop}", percent(one.density), found.objective[0].shown(one.value)


LOSSES = {"train_loss": "training loss", "test_loss": "test loss", "validation_loss": "validation loss"}


def _curves(found: Findings) -> Iterator[tuple[str, str, str, str]]:
    metric = found.objective[0]
    named = {f"{split}_{metric.name}": f"{split} {metric.label}" for split in ("test", "validation")}
    for key, name in (named | LOSSES).items():
        values = [point[key] for point in found.history if key in point]
        if values:
            shown = metric.shown if key in named else "{:.4g}".format
            yield name, sparkline(values), shown(values[0]), shown(values[-1])


def _movement(found: Findings) -> Section:
    headers = ("layer", "kept", "survived", "removed")
    rows = tuple((row.layer, *map(_distance, (row.kept, row.survived, row.removed))) for row in found.movements)
    note = "Mean |after - before| of the weights. kept: from the initial to the final weights, of those that are kept."
    if all(row.survived is None for row in found.movements):
        return Section("Weight movement", headers[:2], tuple(row[:2] for row in rows), note, "movement")
    note += (
        " survived, removed: in the training before the last pruning, of the weights that it kept and of those that it "
        "removed."
    )
    return Section("Weight movement", headers, rows, note, "movement")


def _output_errors(errors: Mapping[str, float]) -> Section:
    note = (
        "Squared error of the outputs of each layer, relative to its squared outputs, on held-out calibration "
        "examples, right after it was last pruned or reconstructed by its inputs."
    )
    rows = tuple((name, f"{error:.4g}", bar(error)) for name, error in errors.items())
    return Section("Output error", ("layer", "relative error", ""), rows, note, "output-error")


def _distance(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _overlap(found: Findings) -> Section:
    rows = tuple((row.layer, f"{row.both:,}", _share(row.iou), _share(row.chance)) for row in found.overlaps)
    note = (
        "IoU: weights that both masks keep, of those that one of them keeps. by chance: that of random masks of the "
        "same densities."
    )
    other = f"{found.other} ({found.other_from})" if found.other_from else found.other
    return Section(f"Mask overlap with {other}", ("layer", "both", "IoU", "by chance"), rows, note, "overlap")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _stability(one: Stability) -> Section:
    verdict = ""
    if one.metric.unit == "%":
        stable = "stable" if one.barrier < STABLE else "not stable"
        verdict = f": {stable} to the noise of SGD (below {percent(STABLE, 0)}; Frankle et al. 2020)"
    note = (
        f"Error barrier {one.metric.shown(one.barrier)}{verdict}. Steps {one.start} to {one.stop} were trained twice "
        "more from one state, with other orders of the data and other augmentation; the test errors are those of the "
        "networks on the straight line between the ends."
    )
    if one.reestimated:
        note += " BatchNorm statistics were measured anew at each point, on the training examples."
    if not one.same_masks:
        note += " The two have other masks, so that there are more weights on the way than at the ends."
    rows = tuple((f"{share:.1f}", one.metric.shown(error)) for share, error in zip(one.shares, one.errors, strict=True))
    return Section("Stability", ("share of the way", one.label), rows, note, "stability")


def percent(share: float, digits: int = 2) -> str:
    return f"{100 * share:.{digits}f} %"


def bar(share: float, width: int = 20) -> str:
    """A share as a bar; the least that is more than nothing shows."""
    return "█" * max(round(share * width), int(share > 0)) if share <= 1 else ""


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """Numbers as a line of blocks, from the lowest to the highest; of more than `width` some are left out."""
    if len(values) > width:
        values = [values[round(place * (len(values) - 1) / (width - 1))] for place in range(width)]
    low, high = min(values), max(values)
    reach = high - low
    return "".join(BLOCKS[round((value - low) / reach * (len(BLOCKS) - 1)) if reach else 0] for value in values)
