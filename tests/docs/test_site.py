"""The documentation site: every page is in its navigation, a link that leads nowhere stops it, and it works offline."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.browser import browser

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site():
    """The functions of docs/site.py."""
    return runpy.run_path(str(ROOT / "docs" / "site.py"))


@pytest.fixture(scope="module")
def pages(site, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    site["collect"](folder)
    return folder


def in_navigation(item):
    if isinstance(item, str):
        yield item
    else:
        for value in item.values() if isinstance(item, dict) else item:
            yield from in_navigation(value)


def test_the_navigation_has_every_page_of_the_documentation_and_no_other(pages):
    config = YAML(typ="safe").load((ROOT / "mkdocs.yml").read_text("utf-8"))
    listed = list(in_navigation(config["nav"]))
    documents = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert documents <= set(listed)
    assert [page for page in listed if not (pages / page).is_file()] == []
    assert len(listed) == len(set(listed))


def test_links_to_folders_and_interactive_pages_lead_to_pages(pages):
    text = (pages / "docs" / "README.md").read_text("utf-8")
    assert "](../plugins/example/README.md)" in text
    assert "](examples/README.md)" in text
    assert "[chain.py](chain.py)" in (pages / "docs" / "examples" / "README.md").read_text("utf-8")
    assert (pages / "leaderboard" / "digits" / "interactive.html").is_file()
    assert not list(pages.rglob("index.html"))


def test_the_gallery_shows_every_board_with_one_picture_for_each_task(pages):
    text = (pages / "gallery.md").read_text("utf-8")
    for board in (path.parent for path in (ROOT / "leaderboard").glob("*/trials.jsonl")):
        assert f"## {board.name}\n" in text
    assert "](leaderboard/digits/digits-mlp.svg)" in text
    assert "digits-mlp-cost.svg" not in text


def test_the_reference_has_the_public_classes(pages):
    text = (pages / "api.md").read_text("utf-8")
    assert "::: prunebench.Method\n" in text
    assert "::: prunebench.run_suite\n" in text


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_searched_without_a_server(tmp_path):
    pytest.importorskip("zensical")
    copy = tmp_path / "project"
    ignored = shutil.ignore_patterns(".git", "build", ".prunebench", "mlflow.db*", "mlruns", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, copy, ignore=ignored)
    done = subprocess.run([sys.executable, "docs/site.py"], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = copy / "build" / "site"
    assert 'id="prunebench.Method' in (folder / "api.html").read_text("utf-8")
    with browser(tmp_path) as opened:
        page = opened.open_page((folder / "index.html").as_uri())
        page.run("document.querySelector('.md-search__button').click()")
        roots = "[...document.querySelectorAll('*')].map(one => one.shadowRoot)"
        found = f"{roots}.find(one => one?.querySelector('input'))"
        page.wait(f"Boolean({found})")
        page.run(f"{found}.querySelector('input').focus()")
        page.send("Input.insertText", text="dropout")
        page.wait(f"{found}.querySelectorAll('[role=listbox] li, [role=option]').length > 0")
        assert [one for one in page.requests if not one.startswith(("file:", "data:", "blob:"))] == []
        assert page.complaints == []

    page = copy / "docs" / "first-run.md"
    page.write_text(page.read_text("utf-8") + "\n[nowhere](no-such-page.md)\n", "utf-8")
    assert subprocess.run([sys.executable, "docs/site.py"], cwd=copy, capture_output=True, check=False).returncode != 0
