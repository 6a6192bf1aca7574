"""What the rows of a task share: configuration, software and machines, as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from prunebench.leaderboard.selection import LABELS, OF_THE_METHOD, OWN_KEY, shared
from prunebench.leaderboard.tables.model import Table
from prunebench.leaderboard.tables.sections import Section
from prunebench.records.results import OF_ENGINE, OPTION, PROFILE, Result

NAMES = {"data": "data fingerprint"}
SHOWN_VALUES = 3


def protocol(section: Section, results: Sequence[Result]) -> Table:
    """What the rows share, in two columns."""
    lines = [("profile", _profiles(results)), *_configuration(results), ("sparsity", denominator(section))]
    lines += [("prunable", _prunable(results)), *_environment(results)]
    lines.append(("newest result", date(max(result.finished for result in results))))
    return Table(("protocol", ""), tuple(line for line in lines if line[1]))


def _profiles(results: Sequence[Result]) -> str:
    """The profiles of the suite that the runs had, with what they set; empty if no run had one."""
    found = {result.provenance.get(OPTION + PROFILE, "") for result in results}
    return " / ".join(sorted(one or "none" for one in found)) if any(found) else ""


def _configuration(results: Sequence[Result]) -> list[tuple[str, str]]:
    """The params that all results share, by the part that they configure: dataset, model, recipe, prunable."""
    names = {name.removeprefix("task.") for result in results for name in result.params} - set(LABELS)
    groups: dict[str, list[tuple[bool, str]]] = {}
    for name, value in shared(results).items():
        group, _, rest = name.partition(".")
        if name in names and not name.startswith(OF_THE_METHOD):
            shown = value if rest in ("", "name") else f"{rest} {value}"
            groups.setdefault(group, []).append((rest not in ("", "name"), shown))
    return [(group, ", ".join(shown for _, shown in sorted(items))) for group, items in sorted(groups.items())]


def denominator(section: Section) -> str:
    counts = sorted({row["parameters_prunable"] for row in section.rows if row["parameters_prunable"] is not None})
    numbers = " or ".join(f"{count:,}" for count in counts)
    return f"share of the {numbers} prunable weights that is exactly zero" if numbers else ""


def _prunable(results: Sequence[Result]) -> str:
    """How much of the networks the prunable weights are, from the results that have all of these figures."""
    names = ("parameters_prunable", "parameters_total", "inference_flops_prunable", "inference_flops_dense")
    measured = {tuple(result.metrics.get(name, math.nan) for name in names) for result in results}
    shares = {_share_prunable(*figures) for figures in measured if all(figures) and not any(map(math.isnan, figures))}
    return " or ".join(sorted(shares))


def _share_prunable(weights: float, parameters: float, flops: float, dense: float) -> str:
    weight_share, flops_share = f"{100 * weights / parameters:.3g} %", f"{100 * flops / dense:.3g} %"
    return f"weights that are {weight_share} of all {parameters:,.0f} parameters and {flops_share} of the FLOPs"


def _environment(results: Sequence[Result]) -> list[tuple[str, str]]:
    """What of the provenance is not of a single method or trial; several machines may have contributed."""
    values: dict[str, set[str]] = {}
    for result in results:
        for name, value in result.provenance.items():
            if name not in (OWN_KEY, OF_ENGINE) and not name.startswith((OF_THE_METHOD, OPTION)):
                values.setdefault(name, set()).add(value)
    return [(NAMES.get(name, name), _several(found)) for name, found in sorted(values.items())]


def _several(values: set[str]) -> str:
    return " / ".join(sorted(values)) if len(values) <= SHOWN_VALUES else f"{len(values)} different"


def date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
