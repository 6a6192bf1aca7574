"""Networks as they are delivered: what was measured of each row in each runtime, and which row to deploy."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from prunebench.leaderboard.metrics import margin, margin_words, metric_of
from prunebench.leaderboard.plots.runtimes import FASTER, Measured, batches, front, known, labels, measured, merit
from prunebench.leaderboard.tables.model import Table, Text, joined, said
from prunebench.leaderboard.tables.sections import Row, Section, percent
from prunebench.records.results import RUNTIME

SAME = (0.9, 1.1)
"""Ratios of latencies that are not told from 1: timings of equal programs differ by as much on a busy machine."""
NAMED = 3
"""At most so many rows are named in a sentence."""
CAPTION = """\
Measured in each runtime on the machine that the row names: the metric on the test set, the size of the files that are
shipped, and the median time of a pass ± its interquartile range, timed in turn with the dense float32 network in the
same runtime. *dense / this* is the ratio of these times, the mean over seeds. *FLOPs* is the ratio that counting gives,
for a runtime that would skip every zero. *memory* is the most that a process takes during passes of the smallest
batch, above what it has before it reads the network, without pages of files such as the runtime's code; in brackets the
same with the dense network. *difference* is the largest difference of an output from torch's, relative to the
largest output. A runtime without kernels for a row's zeros gives no ratio, as none is to be expected. *front*: no row
of this runtime has a better metric at no more latency (differences below 5 % do not count)."""


# Tables


def runtime_tables(section: Section) -> Iterator[tuple[str, Table]]:
    """For each runtime and number of examples a heading and a table."""
    for label in labels(section):
        sizes = batches(section, label)
        for batch in sizes or [1]:
            rows = measured(section, label, batch)
            if sizes:
                yield f"{label}, {batch} example{'s' * (batch > 1)} in a pass", _table(section, rows)
            else:
                yield label, Table(("method", "not measured, because"), tuple((_name(one), one.reason) for one in rows))


def export_commands(section: Section) -> Iterator[tuple[str, tuple[str, ...]]]:
    """For each runtime the commands that write its rows' networks to files, in the order of its tables."""
    for label in labels(section):
        rows = [one for one in known(measured(section, label, _batch(section, label))) if one.get("exportable")]
        lines = [
            f"{command} --runtime {shlex.quote(label)}" for one in rows if (command := one.row.get("export_command"))
        ]
        if lines:
            yield label, tuple(lines)


def _batch(section: Section, label: str) -> int:
    """The smallest number of examples in a timed pass."""
    return next(iter(batches(section, label)), 1)


def _table(section: Section, rows: Sequence[Measured]) -> Table:
    metric, best = section.metric, {id(one) for one in front(rows)}
    header = (
        "row",
        f"{metric.label} there {metric.unit}".rstrip(),
        "latency ms",
        "dense ms",
        "dense / this",
        "FLOPs",
        "dense in INT8",
        "size kB",
        "of dense",
        "memory MB",
        "difference",
        "front",
        "remarks",
    )
    body = tuple(_line(one, id(one) in best) for one in rows)
    sides = ("left", *("right" for _ in header[1:-2]), "left", "left")
    return Table(header, body, sides)


def _line(one: Measured, in_front: bool) -> tuple[Text | str, ...]:
    if one.latency is None:
        return (_name(one), *("" for _ in range(11)), one.reason)
    metric, size, dense_size = metric_of(one.row), one.get("size_bytes"), one.get("size_bytes_dense")
    theory, difference, int8 = one.row["speedup"], one.get("difference_relative"), one.timed("speedup_int8")
    return (
        _name(one),
        "" if one.metric is None else f"{metric.factor * one.metric:.{metric.decimals}f}",
        _spread(one, ""),
        _spread(one, "_dense"),
        _ratio(one),
        "" if theory is None else f"{theory:.3g}×",
        "" if int8 is None else f"{int8:.2f}×",
        "" if size is None else f"{size / 1000:,.1f}",
        "" if not (size and dense_size) else f"{size / dense_size:.1%}",
        _memory(one),
        "" if difference is None else f"{difference:.1e}",
        "front" if in_front else "",
        "; ".join(filter(None, (one.zeros, *_remarks(one)))),
    )


def _remarks(one: Measured) -> list[str]:
    """What the runtime says of its program, and that the machine was busy."""
    return [str(one.row.get(f"{RUNTIME}{one.label}/{topic}") or "") for topic in ("kernels", "load")]


def _name(one: Measured) -> Text:
    target = one.row["target_sparsity"]
    return said("{}", one.row["method"]) + said(f" at {percent(target)} %" if target else "")


def _ratio(one: Measured) -> str:
    """The speed beside the dense network's; none where only zeros without a kernel tell the row from it."""
    ratio = one.timed("speedup")
    if ratio is None:
        return ""
    return f"{ratio:.2f}×" if _counts(one) else "no kernel"


def _memory(one: Measured) -> str:
    """Of a process with the network, and in brackets with the dense one."""
    own, dense = (one.get(f"peak_memory_bytes{ending}") for ending in ("", "_dense"))
    return "" if own is None else f"{own / 1e6:.1f}" + ("" if dense is None else f" ({dense / 1e6:.1f})")


def _is_int8(one: Measured) -> bool:
    """Whether the row itself runs in 8-bit integers, which may be faster whatever its zeros are."""
    return bool(one.get("eight_bit"))


def _spread(one: Measured, ending: str) -> str:
    median, spread = (one.timed(f"latency_ms{ending}{which}") for which in ("", "_iqr"))
    return "" if median is None else f"{median:.3g} ± {spread or 0.0:.2g}"


# Sentences


def deploy_summary(section: Section) -> Iterator[Text]:
    """For each runtime, which row to deploy: the fastest that is about as good as the dense network in torch."""
    dense = section.controls[0] if section.controls else None
    if dense is None or dense["metric_mean"] is None:
        return
    for label in labels(section):
        if sizes := batches(section, label):
            yield _sentence(section, label, measured(section, label, sizes[0]), dense)


def headline(section: Section) -> Text | None:
    """Of all runtimes, the row and the runtime with the lowest latency that is about as good as the dense network."""
    dense = section.controls[0] if section.controls else None
    if dense is None or dense["metric_mean"] is None:
        return None
    metric = section.metric
    least = metric.sign * dense["metric_mean"] - margin(metric, dense["metric_mean"])
    rows = [one for label in labels(section) for one in known(measured(section, label, _batch(section, label)))]
    good = [one for one in rows if merit(one) >= least]
    if not good:
        return None
    shortest = min(one.latency or 0.0 for one in good)
    best = max((one for one in good if (one.latency or 0.0) <= FASTER * shortest), key=merit)  # the best of the fastest
    size, ratio = best.get("size_bytes"), best.timed("speedup")
    words = f", {ratio:.1f} times as fast as the dense network in float32 there" if ratio and ratio >= FASTER else ""
    found = f"{metric.factor * (best.metric or 0.0):.{metric.decimals}f} {metric.unit}".rstrip()
    shipped = f" and {size / 1000:,.0f} kB" if size else ""
    return said(
        f"**The fastest within {margin_words(metric)} of dense** (batch {best.batch}): {{}} in {{}}, with {found} at "
        f"{best.latency:.3g} ms{words}{shipped}.",
        _name(best),
        best.label,
    )


def _sentence(section: Section, label: str, rows: Sequence[Measured], dense: Row) -> Text:
    metric = section.metric
    least = metric.sign * dense["metric_mean"] - margin(metric, dense["metric_mean"])
    batch = rows[0].batch if rows else 1
    parts = [_fastest([one for one in known(rows) if merit(one) >= least and _counts(one)])]
    parts += filter(None, (_int8_alone(rows), _without_kernel(rows), _busy(rows)))
    limit = f"within {margin_words(metric)} of dense ({metric.shown(dense['metric_mean'])})"
    return said(f"In {{}} (batch {batch}), {limit}: ", label) + joined(parts, "; ") + said(".")


def _counts(one: Measured) -> bool:
    """Whether a ratio above 1 can be due to the row.

    Its zeros are skipped, or there are none; or it is in INT8, or smaller as channels were removed before.
    """
    return not one.zeros or _is_int8(one) or one.row.get("parameters_left") is not None


def _fastest(rows: Sequence[Measured]) -> Text:
    ratios = {id(one): one.timed("speedup") or 0.0 for one in rows}
    most = max(ratios.values(), default=0.0)
    if most < FASTER:
        return said("no row is faster")
    # Of rows that are equally fast one whose zeros are for nothing is the last to choose.
    best = max((one for one in rows if FASTER * ratios[id(one)] >= most), key=lambda one: (not one.zeros, merit(one)))
    size, dense = best.get("size_bytes"), best.get("size_bytes_dense")
    smaller = f", with files of {size / dense:.0%} of the size" if size and dense else ""
    beside = "in float32" if best.row["control"] else "the dense network"
    theory = best.row["speedup"]
    counted = f" (FLOPs: {theory:.3g} times fewer)" if theory and not best.zeros and not best.row["control"] else ""
    return _name(best) + said(f" is {ratios[id(best)]:.1f} times as fast as {beside}{counted}{smaller}")


def _int8_alone(rows: Sequence[Measured]) -> Text | None:
    """The control: how fast the dense network is in 8-bit integers."""
    others = [one for one in rows if not _is_int8(one)]
    ratios = [ratio for one in others if (ratio := one.timed("speedup_int8")) is not None]
    return said(f"INT8 alone gives {sum(ratios) / len(ratios):.1f} times the speed") if ratios else None


def _without_kernel(rows: Sequence[Measured]) -> Text | None:
    """What was measured of zeros that no kernel skips."""
    some = [one for one in rows if not _counts(one)]
    ratios = [ratio for one in some if (ratio := one.timed("speedup")) is not None]
    if not ratios:
        return None
    low, high = min(ratios), max(ratios)
    measured = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
    several, counted = len(some) > 1, max(one.row["speedup"] or 1.0 for one in some)
    theory = f", where counting gives {'up to ' * several}{counted:.3g}"
    which = _names(some) + said(f", whose zeros no kernel skips, {'are' if several else 'is'} ")
    if SAME[0] <= low and high <= SAME[1]:
        return which + said(f"not faster ({measured} times{theory})")
    return which + said(f"measured at {measured} times{theory}, which nothing in the runtime explains")


def _busy(rows: Sequence[Measured]) -> Text | None:
    """That the ratios may be off."""
    if not any(one.row.get(f"{RUNTIME}{one.label}/load") for one in rows):
        return None
    return said("other processes used the machine meanwhile, so these ratios may be far off")


def _names(rows: Sequence[Measured]) -> Text:
    """At most NAMED rows by name."""
    names = [_name(one) for one in rows[:NAMED]]
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return joined(names) + said(more)
