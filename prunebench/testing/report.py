"""Reports of conformance: one finding for each check, and whether the method conforms."""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from prunebench.api import __version__
from prunebench.api.components import Model
from prunebench.api.methods import Method
from prunebench.testing.checks import CHECKS, Check, checks, instance
from prunebench.testing.networks import NETWORKS
from prunebench.testing.verdicts import ConformanceWarning, Nonconformity, NotApplicable

Status = Literal["passed", "warned", "failed", "skipped"]
WORDS: Mapping[Status, str] = {"passed": "ok", "warned": "warn", "failed": "FAIL", "skipped": "skip"}
"""How a matrix shows them."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    check: str
    network: str
    """Its name; empty for a check of the method as a whole."""
    status: Status
    detail: str = ""
    """What is wrong, why it was skipped, or a remark."""
    seconds: float = 0.0


@dataclass(frozen=True)
class Report:
    """The results of all checks of a method."""

    method: str
    parameters: str
    """As they were checked: `SNIP(batches=1)`."""
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed and something could be run: a method whose every check is skipped was not checked."""
        ran = [finding for finding in self.findings if finding.network] or self.findings
        failed = any(finding.status == "failed" for finding in self.findings)
        return not failed and any(finding.status in ("passed", "warned") for finding in ran)

    @property
    def counts(self) -> dict[Status, int]:
        return {status: sum(finding.status == status for finding in self.findings) for status in WORDS}

    @property
    def networks(self) -> list[str]:
        """In the order in which they were tried."""
        return list(dict.fromkeys(finding.network for finding in self.findings if finding.network))

    def matrix(self) -> list[tuple[str, ...]]:
        """A row of words for each check: its name, the method as a whole, and each network."""
        cells = {(finding.check, finding.network): WORDS[finding.status] for finding in self.findings}
        names = dict.fromkeys(finding.check for finding in self.findings)
        return [(name, *(cells.get((name, network), "") for network in ("", *self.networks))) for name in names]

    def details(self, status: Status) -> list[tuple[str, str]]:
        """Where findings of a status were made, as `density, zeros on mlp, vit`, and what they say; each text once."""
        found: dict[str, list[Finding]] = {}
        for finding in self.findings:
            if finding.status == status and finding.detail:
                found.setdefault(finding.detail, []).append(finding)
        return [(_places(findings), detail) for detail, findings in found.items()]

    @property
    def summary(self) -> str:
        """On one line."""
        counts = ", ".join(f"{count} {status}" for status, count in self.counts.items() if count)
        idle = "" if self.ok or self.counts["failed"] else "nothing could be run: "
        return f"{self.method}: {idle}{counts} in {sum(finding.seconds for finding in self.findings):.0f} s"

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "method": self.method,
            "parameters": self.parameters,
            "ok": self.ok,
            "counts": self.counts,
            "findings": [asdict(finding) for finding in self.findings],
        }

    def __str__(self) -> str:
        return "\n".join([self.summary, *(f"{place}: {detail}" for place, detail in self.details("failed"))])


def _places(findings: Sequence[Finding]) -> str:
    """Checks with the networks that they were made on; those with the same ones together."""
    by_check: dict[str, list[str]] = {}
    for finding in findings:
        by_check.setdefault(finding.check, []).append(finding.network)
    alike: dict[str, list[str]] = {}
    for check, networks in by_check.items():
        alike.setdefault(", ".join(filter(None, networks)), []).append(check)
    return "; ".join(", ".join(checks) + (f" on {networks}" if networks else "") for networks, checks in alike.items())


def conformance(
    method: Method | type[Method],
    networks: Sequence[Model] = NETWORKS,
    watch: Callable[[Check], object] | None = None,
    only: Collection[str] | None = None,
) -> Report:
    """Run the checks of a method.

    Args:
        method: an instance with the parameters to be checked, or a class for their defaults.
        networks: what it is tried on.
        watch: called with each check before it is run.
        only: names of the checks to run, of those in `CHECKS`; by default all.

    Raises PluginError as `checks` does.
    """
    method, found = instance(method), []
    for check in checks(method, networks, only):
        if watch is not None:
            watch(check)
        found.append(_found(check))
    return Report(method.name, repr(method), tuple(found))


def _found(check: Check) -> Finding:
    begun = time.perf_counter()
    status: Status = "passed"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            detail = check()
        except Nonconformity as error:
            status, detail = "failed", str(error)
        except NotApplicable as reason:
            status, detail = "skipped", str(reason)
    warned = [str(one.message) for one in caught if issubclass(one.category, ConformanceWarning)]
    if status == "passed" and warned:
        status, detail = "warned", "\n".join(warned)
    return Finding(check.name, check.network, status, detail, time.perf_counter() - begun)


def markdown(reports: Sequence[Report]) -> str:
    """Reports as a page for a pull request, without a path or a machine's name in it."""
    versions = f"prunebench {__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    return "\n".join([f"Conformance by {versions}.", *(line for report in reports for line in _page(report))]) + "\n"


def _page(report: Report) -> Iterator[str]:
    yield from ("", f"## `{report.method}`: {'conforms' if report.ok else 'does not conform'}", "")
    yield f"{report.summary.partition(': ')[2]}. Its parameters are `{report.parameters}`."
    yield from ("", "| check | " + " | ".join(["method", *report.networks, "what it is about"]) + " |")
    yield "|---|" + "---|" * (len(report.networks) + 2)
    for name, *words in report.matrix():
        marked = [f"**{word}**" if word == WORDS["failed"] else word for word in words]
        yield f"| {name} | {' | '.join(marked)} | {CHECKS[name]} |"
    for status in ("failed", "warned", "skipped", "passed"):
        details = report.details(status)
        if details:
            yield from ("", f"**{status.capitalize()}**" if status != "passed" else "**Remarks**", "")
        for place, detail in details:
            first, *others = detail.splitlines()
            yield f"- {place}: {first}"
            if others:
                yield from ("", "  ```text", *(f"  {line.strip()}" for line in others), "  ```", "")
