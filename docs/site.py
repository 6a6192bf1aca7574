"""Build the documentation site from the pages of this repository: `python docs/site.py`.

The pages are written to be read in the repository, and link to suites, boards and plugins beside them. This script
copies all of them with their folders to build/pages, so that the links stay as they are, adds a gallery of the boards
and the reference of the public classes, and calls Zensical, which reads mkdocs.yml and fails for a link that leads
nowhere. The site is in build/site; it needs no server, and its search works offline.
"""

from __future__ import annotations

import argparse
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "build" / "pages"
SITE = ROOT / "build" / "site"
COPIED = ("docs", "leaderboard", "reproductions", "suites", "plugins", "benchmarks/results")
"""Folders with pages, or with files that pages link to."""
TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CODE_OF_CONDUCT.md", "SECURITY.md", "LICENSE", "CITATION.cff")
ENDINGS = {".md", ".svg", ".html", ".yaml", ".csv", ".py", ".toml", ".ipynb", ".png"}
INTERACTIVE = "interactive.html"
"""The name of a board's interactive page here, as README.md becomes index.html."""
SHIM = re.compile(r'<script src="https://[^"]*iframe-worker/shim"[^>]*></script>')
"""What Zensical loads from another host so that the search works in pages that are opened as files."""
LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)]*)?\))")


def main() -> None:
    """Write the pages, and build the site from them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pages-only", action="store_true", help="do not call Zensical")
    collect(PAGES)
    if not parser.parse_args().pages_only:
        sys.exit(build())


def build() -> int:
    """Build the site from build/pages; returns Zensical's exit code, which is not 0 if it has a warning."""
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    own = f"<script>{(ROOT / 'docs' / 'site' / 'worker.js').read_text('utf-8')}</script>"
    for page in SITE.rglob("*.html"):
        page.write_text(SHIM.sub(lambda _: own, page.read_text("utf-8")), "utf-8")
    return code


def collect(folder: Path) -> None:
    """Copy all pages and what they link to, and write the generated ones."""
    shutil.rmtree(folder, ignore_errors=True)
    for path in _sources():
        target = folder / path.relative_to(ROOT)
        target = target.with_name(INTERACTIVE) if path.name == "index.html" else target
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    for page in sorted(folder.rglob("*.md")):
        page.write_text(_linked(page), "utf-8")
    (folder / "gallery.md").write_text(gallery(), "utf-8")
    (folder / "api.md").write_text(api(), "utf-8")


def _sources() -> Iterator[Path]:
    for name in COPIED:
        yield from (path for path in sorted((ROOT / name).rglob("*")) if path.suffix in ENDINGS and path.is_file())
    yield from (ROOT / name for name in TOP if (ROOT / name).is_file())


def _linked(page: Path) -> str:
    """The text of a page whose links lead to pages: of a folder to the one in it, which is written if there is none."""

    def linked(found: re.Match[str]) -> str:
        target = page.parent / found[2]
        if target.name == "index.html" and target.with_name(INTERACTIVE).exists():
            return f"{found[1]}{found[2].removesuffix('index.html')}{INTERACTIVE}{found[3]}"
        if found[2].startswith("http") or not target.is_dir():
            return found[0]
        if not (target / "README.md").exists():
            (target / "README.md").write_text(listing(target), "utf-8")
        return f"{found[1]}{found[2].rstrip('/')}/README.md{found[3]}"

    return LINK.sub(linked, page.read_text("utf-8"))


def listing(folder: Path) -> str:
    """A page with links to the files of a folder."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("_"))
    return "\n".join([f"# Files of {folder.name}", "", *(f"- [{name}]({name})" for name in names), ""])


def gallery() -> str:
    """A page with the picture of each published board, and links to its pages."""
    parts = [
        "# Boards",
        "The published boards. Each has a page to read, and an interactive one with tables to sort and filter.",
    ]
    for trials in sorted((ROOT / "leaderboard").glob("*/trials.jsonl")):
        board, count = trials.parent, len(trials.read_text("utf-8").splitlines())
        pictures = sorted(path.name for path in board.glob("*.svg"))
        plain = [name for name in pictures if not any(name.startswith(f"{Path(one).stem}-") for one in pictures)]
        place = f"leaderboard/{board.name}"
        parts.append(f"## {board.name}")
        parts += [f"![{Path(name).stem}: the metric against sparsity]({place}/{name})" for name in plain]
        parts.append(
            f"{count:,} trials: [page]({place}/README.md), [interactive]({place}/{INTERACTIVE}), "
            f"[rows]({place}/rows.csv)"
        )
    return "\n\n".join(parts) + "\n"


def api() -> str:
    """A page with the public classes and functions, from their docstrings."""
    chapters = runpy.run_path(str(ROOT / "docs" / "generate.py"))["CHAPTERS"]
    parts = [
        "# Python API",
        "All public names of `prunebench`. [Hooks and classes](docs/reference/hooks.md) has them with the hooks.",
    ]
    aliases = {"Allocation", "Flops", "Time"}
    for title, names in chapters.items():
        parts.append(f"## {title}")
        parts += [f"::: prunebench.{name}" for name in names if name not in aliases | {"Component", "Layer"}]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
