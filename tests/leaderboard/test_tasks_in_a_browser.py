"""A board of several tasks, in a headless Chromium: each task is a page of its own."""

import pytest

from prunebench.leaderboard import write

pytestmark = pytest.mark.slow

SHOWN = "[...document.querySelectorAll('main > section')].filter((one) => !one.hidden).map((one) => one.id)"
CURRENT = "document.querySelector('nav.parts [aria-current=page]').textContent"
WIDTH = "document.querySelector('#{} .plot svg').getBoundingClientRect().width"


def board(folder, seeds, *tasks):
    found = []
    for task in tasks:
        found += seeds(0.930, 0.941, 0.952, task=task, method="unpruned", control=True)
        found += seeds(0.920, 0.931, 0.945, task=task, method="good")
        found += seeds(0.820, 0.831, 0.845, task=task, method="poor")
    write(found, folder)
    return f"file://{folder}/index.html"


@pytest.fixture
def open_page(chromium):
    def opened(address):
        page = chromium.open_page(address)
        page.wait(
            "document.documentElement.dataset.plots === String(document.querySelectorAll('figure script').length)"
        )
        return page

    return opened


def test_a_page_shows_one_task_and_the_next_one_when_asked(open_page, seeds, tmp_path):
    page = open_page(board(tmp_path, seeds, "one", "two"))
    assert page.run(SHOWN) == ["one"]
    assert page.run(CURRENT) == "one"
    page.run("document.querySelector('nav.parts a[href=\"#two\"]').click()")
    page.wait(f"{SHOWN}.join() === 'two'")
    assert page.run(CURRENT) == "two"
    page.wait(f"{WIDTH.format('two')} > 600")
    assert page.complaints == []


def test_an_address_within_a_task_opens_its_page(open_page, seeds, tmp_path):
    page = open_page(board(tmp_path, seeds, "one", "two") + "#two-every-row")
    assert page.run(SHOWN) == ["two"]
    page.run("document.querySelector('a.skip').click()")
    assert page.run("location.hash") == "#content"
    assert page.run(SHOWN) == ["two"]


def test_the_parts_of_a_single_task_stay_on_one_page(open_page, seeds, tmp_path):
    page = open_page(board(tmp_path, seeds, "one"))
    assert len(page.run(SHOWN)) == page.run("document.querySelectorAll('main > section').length") > 1
