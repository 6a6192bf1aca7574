"""Check the boards that a change adds or edits: `python .ci/submitted_rows.py --base origin/main`.

Each changed board must be what its trials give. Of the rows that the base does not have, or has with other figures,
the cheapest ones are run again by `prunebench verify`, one seed each. Of what a board names only suites are used, and
only those that are installed or in this repository; rows that need a plugin file have to be verified by hand.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from prunebench.leaderboard.boards.published import FILE, read_board
from prunebench.records.results import OPTION, Result
from prunebench.suite.shipped import shipped

ROOT = Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "prunebench")


def main() -> int:
    """Check the changed boards; returns 1 if a check failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--base", required=True, help="commit that the boards are compared with")
    parser.add_argument("--count", type=int, default=2, help="rows of each board that are run again")
    given = parser.parse_args()
    failed = [board.name for board in changed_boards(given.base) if not all(checks(board, given.base, given.count))]
    print(f"failed: {', '.join(failed)}" if failed else "every board is as it should be")
    return 1 if failed else 0


def changed_boards(base: str) -> list[Path]:
    """The boards whose trials differ from those of the base; boards that were removed are left out."""
    names = _git("diff", "--name-only", "--diff-filter=d", base, "--", f"leaderboard/*/{FILE}").splitlines()
    return [(ROOT / name).parent for name in sorted(names)]


def checks(board: Path, base: str, count: int) -> Iterator[bool]:
    """Whether the pages of a board are up to date, and whether each chosen row is reproduced."""
    print(f"{board.name}: are the pages those of the trials?", flush=True)
    yield _run("leaderboard", str(board), "--check")
    rows = chosen(read_board(board).results, before(board, base), count)
    print(f"{board.name}: {len(rows)} new rows are run again", flush=True)
    for result in rows:
        yield verify(board, result)


def before(board: Path, base: str) -> tuple[Result, ...]:
    """The trials of a board in the base; none if the board is new."""
    path = f"{board.relative_to(ROOT).as_posix()}/{FILE}"
    if not _git("ls-tree", "--name-only", base, "--", path):
        return ()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, FILE).write_text(_git("show", f"{base}:{path}"), "utf-8")
        return read_board(Path(folder)).results


def chosen(now: Iterable[Result], then: Iterable[Result], count: int) -> list[Result]:
    """A trial of each of the cheapest new rows, those of the shortest training first."""
    known = {(result.trial, tuple(sorted(result.metrics.items()))) for result in then}
    rows: dict[str, Result] = {}
    new = (one for one in now if one.status == "done" and (one.trial, tuple(sorted(one.metrics.items()))) not in known)
    for result in sorted(new, key=lambda one: (one.metrics.get("wall_seconds", 0.0), one.trial)):
        rows.setdefault(row_of(result), result)
    return list(rows.values())[:count]


def row_of(result: Result) -> str:
    return f"{result.task}/{result.method}/{result.sparsity:g}"


def verify(board: Path, result: Result) -> bool:
    """Run one seed of a row again; False if it is not reproduced, or if its suite is not here."""
    file = suite_of(result)
    if file is None:
        named = result.provenance.get(OPTION + "file", "")
        print(f"{row_of(result)!r}: its suite {named!r} is neither shipped nor in this repository")
        return False
    return _run("verify", "--board", str(board), "--seed", str(result.seed), "--", file, row_of(result))


def suite_of(result: Result) -> str | None:
    """The suite that a trial was made with: the name of a shipped one, or a YAML file in this repository."""
    named = result.provenance.get(OPTION + "file", "")
    if named in shipped():
        return named
    path = (ROOT / named).resolve()
    inside = path.is_relative_to(ROOT.resolve()) and path.suffix in (".yaml", ".yml")
    return str(path) if inside and path.is_file() else None


def _run(*words: str) -> bool:
    return subprocess.run([*COMMAND, *words], cwd=ROOT, check=False).returncode == 0


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
