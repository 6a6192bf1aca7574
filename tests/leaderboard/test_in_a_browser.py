"""The page that needs no network, in a headless Chromium: what it loads, shows, sorts and filters."""

import re

import pytest

from prunebench.leaderboard import markdown, select, table, write

pytestmark = pytest.mark.slow

HOSTILE = "<script>document.title = 'broken'</script>\"><img src=x onerror=\"document.title = 'broken'\">"
READ = """[...document.querySelectorAll('table')].map((table) => [...table.rows].map(
    (row) => [...row.cells].map((cell) => cell.textContent.replace(/\\s+/g, ' ').trim())))"""
ROWS = (
    """[...document.querySelectorAll('table')].filter((t) => t.rows[0].cells[1].textContent.startsWith('target'))[0]"""
)


@pytest.fixture(scope="module")
def results(result, seeds):
    return [
        *seeds(0.930, 0.941, 0.952, method="unpruned", control=True),
        *seeds(0.920, 0.931, 0.945, method="good"),
        *seeds(0.900, 0.911, 0.913, method="good", sparsity=0.98),
        *seeds(0.810, 0.802, 0.821, method="poor"),
        *seeds(0.10, 0.12, 0.11, method="poor", sparsity=0.98, metrics={"training_cost": 12.5}),
        *seeds(0.83, 0.84, 0.82, method=HOSTILE),
        result(method=HOSTILE, sparsity=0.98, status="failed", reason=HOSTILE),
    ]


@pytest.fixture(scope="module")
def folder(results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    write(results, folder)
    return folder


@pytest.fixture(scope="module")
def open_page(folder, chromium):
    def opened(**how):
        page = chromium.open_page(f"file://{folder}/index.html", **how)
        plots = page.run("document.querySelectorAll('figure script').length")
        page.wait(f"document.documentElement.dataset.plots === '{plots}'")
        return page

    return opened


@pytest.fixture
def page(open_page):
    return open_page()


def column(page, number):
    """The cells of a column of the table of all rows, as they stand."""
    return page.run(f"[...{ROWS}.tBodies[0].rows].map((row) => row.cells[{number}].textContent)")


def test_it_loads_without_a_network_and_asks_for_nothing(page, folder):
    assert [one for one in page.requests if not one.startswith("data:")] == [f"file://{folder}/index.html"]
    assert page.complaints == []
    assert page.run("document.title") == "Leaderboard: s"


def test_a_request_would_be_seen_and_is_forbidden(page):
    page.run("fetch('https://example.org/x').catch(() => 0)")
    assert any("Content Security Policy" in one for one in page.complaints)


def test_its_numbers_are_those_of_the_markdown_page(page, results):
    selection = select(results)
    text = markdown(table(selection), selection)
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    expected = [
        [[_shown(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in block.splitlines()]
        for block in blocks
    ]
    expected = [[line for place, line in enumerate(block) if place != 1] for block in expected]
    assert page.run(READ) == expected


def _shown(cell):
    """A cell of Markdown as a reader sees it."""
    plain = re.sub(r"(?<!\\)(\*\*|`)", "", cell)
    return re.sub(r"\\(.)", r"\1", plain).replace("&lt;", "<").strip()


def test_hostile_labels_are_shown_and_do_nothing(page):
    assert page.run("document.title") == "Leaderboard: s"
    assert HOSTILE in column(page, 0)
    assert page.run("document.querySelectorAll('img[src=x]').length") == 0
    assert HOSTILE in page.run("[...document.querySelectorAll('.legend button')].map((one) => one.textContent)")


def test_a_column_is_sorted_by_its_numbers_and_empty_cells_come_last(page):
    heads = page.run(f"[...{ROWS}.tHead.rows[0].cells].map((head) => head.textContent)")
    accuracy, cost = heads.index("accuracy %"), heads.index("training cost")
    page.run(f"{ROWS}.tHead.rows[0].cells[{accuracy}].querySelector('button').click()")
    found = [cell.partition(" ")[0] for cell in column(page, accuracy)]
    assert found[-1] == ""
    assert [float(cell) for cell in found[:-1]] == sorted(map(float, found[:-1]), reverse=True)
    assert page.run(f"{ROWS}.tHead.rows[0].cells[{accuracy}].getAttribute('aria-sort')") == "descending"
    page.run(f"{ROWS}.tHead.rows[0].cells[{cost}].querySelector('button').click()")
    page.run(f"{ROWS}.tHead.rows[0].cells[{cost}].querySelector('button').click()")
    found = [float(cell.rstrip("×")) for cell in column(page, cost) if cell]
    assert found == sorted(found)
    assert found[-1] == 12.5
    assert page.run(f"{ROWS}.tHead.rows[0].cells[{cost}].getAttribute('aria-sort')") == "ascending"
    assert page.run(f"{ROWS}.tHead.rows[0].cells[{accuracy}].getAttribute('aria-sort')") is None


def test_the_keyboard_sorts(page):
    page.run(f"{ROWS}.tHead.rows[0].cells[0].querySelector('button').focus()")
    page.press("Enter", 13)
    assert page.run(f"{ROWS}.tHead.rows[0].cells[0].getAttribute('aria-sort')") == "ascending"
    names = column(page, 0)
    assert names.index("good") < names.index("poor") < names.index("unpruned")


def test_rows_are_filtered_by_words_and_by_values(page):
    visible = (
        f"[...{ROWS}.tBodies[0].rows].filter((row) => row.checkVisibility()).map((row) => row.cells[0].textContent)"
    )
    form = f"{ROWS}.closest('.table').querySelector('form')"
    count = len(page.run(visible))
    assert count == 7
    page.run(f"{form}.querySelector('input').focus()")
    page.send("Input.insertText", text="GOOD")
    assert page.run(visible) == ["good", "good"]
    assert page.run(f"{form}.querySelector('output').textContent") == "2 of 7 rows"
    change = "one.value = '98'; one.dispatchEvent(new Event('input', { bubbles: true }))"
    page.run(f"(() => {{ const one = {form}.querySelector('select'); {change} }})()")
    assert page.run(visible) == ["good"]
    options = page.run(f"[...{form}.querySelector('select').options].map((one) => one.textContent)")
    assert options == ["all", "0", "90", "98"]


def test_plots_show_each_method_until_it_is_switched_off(page):
    plot = "document.querySelector('figure .plot')"
    lines = f"{plot}.querySelectorAll('.mark-line path').length"
    points = f"[...{plot}.querySelectorAll('.mark-symbol path')].map((one) => one.ariaLabel)"
    assert page.run(lines) == 3
    assert "good at 90 %: 93.20 ± 1.25 %" in page.run(points)
    legend = "[...document.querySelectorAll('.legend')[0].querySelectorAll('button')]"
    button = f"{legend}.find((one) => one.textContent === 'good')"
    assert page.run(f"{button}.getAttribute('aria-pressed')") == "true"
    page.run(f"{button}.click()")
    page.wait(f"{lines} === 2")
    assert page.run(f"{button}.getAttribute('aria-pressed')") == "false"
    assert not [label for label in page.run(points) if label.startswith("good")]
    page.run(f"{button}.click()")
    page.wait(f"{lines} === 3")


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_in_light_and_dark_narrow_and_wide(open_page, width, scheme):
    page = open_page(width=width, height=800, scheme=scheme)
    assert page.run("document.documentElement.scrollWidth") <= width
    contrasts = page.run(CONTRASTS)
    assert min(contrasts.values()) >= 4.5, contrasts
    light = page.run("luminance(getComputedStyle(document.body).backgroundColor)")
    assert (light > 0.5) == (scheme == "light")


CONTRASTS = """(() => {
  const parts = { text: 'p', caption: 'caption', cell: 'tbody td', head: 'thead th', best: 'td strong', link: 'nav a' };
  window.luminance = (color) => {
    const linear = (x) => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = color.match(/[\\d.]+/g).map((x) => linear(x / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    const color = getComputedStyle(one).backgroundColor;
    return color === 'rgba(0, 0, 0, 0)' ? behind(one.parentElement) : color;
  };
  return Object.fromEntries(Object.entries(parts).map(([name, selector]) => {
    const one = document.querySelector(selector);
    const pair = [luminance(getComputedStyle(one).color), luminance(behind(one))].sort((a, b) => b - a);
    return [name, (pair[0] + 0.05) / (pair[1] + 0.05)];
  }));
})()"""
"""WCAG's contrast of text and what is behind it, by what the text is."""


def test_sliders_leave_the_rows_within_their_limits(page):
    total = page.run(f"{ROWS}.tBodies[0].rows.length")
    slide = """(label, place) => {
        const slider = [...document.querySelectorAll('.slider')].find((one) =>
            !one.hidden && one.textContent.startsWith(label)).querySelector('input');
        slider.value = place === 'end' ? slider.max : place;
        slider.dispatchEvent(new Event('input', { bubbles: true }));
        return slider.nextElementSibling.textContent;
    }"""
    shown = f"[...{ROWS}.tBodies[0].rows].filter((row) => !row.hidden)"
    heads = page.run(f"[...{ROWS}.tHead.rows[0].cells].map((head) => head.textContent)")
    cost = heads.index("training cost")
    limit = float(page.run(f"({slide})('training cost', 'end')"))
    cells = page.run(f"{shown}.map((row) => row.cells[{cost}].textContent)")
    assert cells
    assert {float(cell.rstrip("×")) for cell in cells} == {limit}
    assert page.run(f"({slide})('training cost', 0)") == "any"
    assert page.run(f"{shown}.length") == total
    limit = float(page.run(f"({slide})('target %', 2)"))
    targets = page.run(f"{shown}.map((row) => row.cells[{heads.index('target %')}].textContent)")
    assert 0 < len(targets) < total
    assert min(map(float, targets)) == limit
