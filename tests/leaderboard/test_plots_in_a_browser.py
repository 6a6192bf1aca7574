"""The plots that answer, in a headless Chromium: what is drawn, pointed at, chosen and listed."""

import csv
import json
from pathlib import Path

import pytest

from prunebench.leaderboard import select, table, write
from prunebench.leaderboard.tables.sections import front, sections

pytestmark = pytest.mark.slow

HOSTILE = '</script><script>document.title = "broken"</script>'
PATHS = {"good": 400.0, "poor": 800.0, HOSTILE: 1200.0}
FIGURES = """
window.figure = (title) => [...document.querySelectorAll('figure')].find(
  (one) => one.querySelector('h3').textContent === title);
window.labels = (title, mark) => [...figure(title).querySelectorAll(`.mark-${mark} path`)].map((one) => one.ariaLabel);
window.choose = (title, text, place = 0) => {
  const list = figure(title).querySelectorAll('.filters select')[place];
  list.value = [...list.options].find((one) => one.text === text).value;
  list.dispatchEvent(new Event('input', { bubbles: true }));
};
window.listed = (title) => [...figure(title).querySelectorAll('table tr')].map(
  (row) => [...row.cells].map((cell) => cell.textContent));
window.button = (title, text) => [...figure(title).querySelectorAll('.legend button')].find(
  (one) => one.textContent === text);
"""
ACCURACY, COST = "Test accuracy against sparsity", "Test accuracy against training cost"
STOP, THERE = "Iteration of early stopping against sparsity", "Test accuracy at early stopping against sparsity"
LAYERS, OVERLAP = "Weights kept in each layer", "Overlap of masks"
TOOLTIP = "document.querySelector('#vg-tooltip-element.visible')?.textContent ?? ''"
SAID = """[...document.querySelectorAll('#vg-tooltip-element.visible tr')].map(
  (row) => [...row.cells].map((cell) => cell.textContent.replace(/:$/, '')))"""


@pytest.fixture(scope="module")
def results(seeds):
    found = seeds(0.930, 0.941, 0.952, method="unpruned", control=True)
    for level, sparsity in enumerate((0.9, 0.98)):
        for place, (method, step) in enumerate(PATHS.items()):
            metrics = {
                "early_stop_step": step * (level + 1),
                "early_stop_accuracy": 0.9 - place / 10,
                "density/fc1.weight": 0.12 / 4**place,
                "density/fc2.weight": 0.5 * place,
                "training_cost": [1.5, 0.25, 4.0][place],
            }
            accuracy = 0.9 - place / 4
            found += seeds(
                accuracy, accuracy - 0.01, accuracy + 0.01, method=method, sparsity=sparsity, metrics=metrics
            )
    return found


@pytest.fixture(scope="module")
def overlaps(results, overlap):
    pairs = {("good", "poor"): 0.25, ("good", HOSTILE): 0.125, ("good", "good"): 0.0625, ("poor", "poor"): 1.0}
    high = [overlap(results, *pair, share, 0.03125, 0.98) for pair, share in pairs.items()]
    return [*high, overlap(results, "good", "poor", 0.75, 0.5, 0.9)]


@pytest.fixture(scope="module")
def folder(results, overlaps, tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    write(results, folder, overlaps=overlaps)
    return folder


@pytest.fixture(scope="module")
def open_page(folder, chromium):
    def opened(**how):
        page = chromium.open_page(f"file://{folder}/index.html", **how)
        page.wait("document.documentElement.dataset.plots === '6'")
        page.run(FIGURES)
        return page

    return opened


@pytest.fixture
def page(open_page):
    return open_page()


def labels(page, title, mark):
    return page.run(f"labels({json.dumps(title)}, '{mark}')")


def choose(page, title, text, place=0):
    page.run(f"choose({json.dumps(title)}, {json.dumps(text)}, {place})")


def rows_of(folder):
    """By method and target sparsity, without the dense network."""
    with (folder / "rows.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    return {
        (row["method"], f"{100 * float(row['target_sparsity']):g} %"): row
        for row in found
        if row["n"] != "" and row["control"] == "False"
    }


def test_all_six_are_drawn_without_a_complaint_or_a_request(page, folder):
    assert page.run("document.querySelectorAll('figure .plot svg').length") == 6
    assert page.run("document.querySelectorAll('figure img').length") == 0
    assert [one for one in page.requests if not one.startswith("data:")] == [f"file://{folder}/index.html"]
    assert page.complaints == []
    assert page.run("document.title") == "Leaderboard: s"


def test_early_stops_are_those_of_the_rows(page, folder):
    rows = rows_of(folder)
    assert len(rows) == 6
    assert set(labels(page, STOP, "symbol")) == {
        f"{method} at {target}: {float(row['early_stop_step']):,.0f} ± {float(row['early_stop_step_std']):,.0f}"
        for (method, target), row in rows.items()
    }
    assert set(labels(page, THERE, "symbol")) == {
        f"{method} at {target}: {100 * float(row['early_stop_metric']):.2f} ± "
        f"{100 * float(row['early_stop_metric_std']):.2f} %"
        for (method, target), row in rows.items()
    }


def test_layers_are_shown_at_every_sparsity_at_one_and_of_a_method(page):
    def cells(methods, sparsities):
        shares = {"good": ("12 %", "0 %"), "poor": ("3 %", "50 %"), HOSTILE: ("0.75 %", "100 %")}
        return {
            f"{method} at {sparsity}, {layer}: {share}"
            for method in methods
            for sparsity in sparsities
            for layer, share in zip(("fc1.weight", "fc2.weight"), shares[method], strict=True)
        }

    assert set(labels(page, LAYERS, "rect")) == cells(PATHS, ("90 %", "98 %"))
    choose(page, LAYERS, "98 %")
    page.wait(f"labels('{LAYERS}', 'rect').length === 6")
    assert set(labels(page, LAYERS, "rect")) == cells(PATHS, ("98 %",))
    choose(page, LAYERS, HOSTILE)
    page.wait(f"labels('{LAYERS}', 'rect').length === 4")
    assert set(labels(page, LAYERS, "rect")) == cells((HOSTILE,), ("90 %", "98 %"))
    said = page.run(f"[...figure('{LAYERS}').querySelectorAll('.role-mark.mark-text text')].map((o) => o.textContent)")
    assert sorted(said) == ["0.75", "0.75", "100", "100"]
    assert page.complaints == []


def test_a_layer_without_a_weight_stands_out(page):
    choose(page, LAYERS, "good")
    page.wait(f"labels('{LAYERS}', 'rect').length === 4")
    said = page.run(f"[...figure('{LAYERS}').querySelectorAll('.role-mark.mark-text text')].map((o) => o.textContent)")
    assert sorted(said) == ["12", "12", "none", "none"]


def test_a_cell_that_is_pointed_at_says_what_it_is(page):
    cell = "[...figure('%s').querySelectorAll('.mark-rect path')].find((o) => o.ariaLabel === %s)"
    page.point_at(cell % (LAYERS, json.dumps("poor at 98 %, fc1.weight: 3 %")))
    page.wait(f"({TOOLTIP}).includes('fc1.weight')")
    assert page.run(SAID) == [
        ["method", "poor"],
        ["target", "98 %"],
        ["layer", "fc1.weight"],
        ["weights kept", "3 %"],
        ["seeds", "3"],
    ]
    page.point_at(cell % (OVERLAP, json.dumps("good and poor: 25 %, by chance 3.125 %")))
    page.wait(f"({TOOLTIP}).includes('kept by both')")
    said = dict(page.run(SAID))
    assert (said["method"], said["other"], said["kept by both"]) == ("good", "poor", "25 %")
    assert (said["by chance"], said["pairs of masks"], said["target"]) == ("3.125 %", "3", "98 %")


def test_a_point_that_is_pointed_at_says_what_it_is(page):
    point = (
        "[...figure('%s').querySelectorAll('.mark-symbol path')].find((o) => o.ariaLabel.startsWith('poor at 98 %%'))"
    )
    page.point_at(point % STOP)
    page.wait(f"({TOOLTIP}).includes('early stop')")
    said = dict(page.run(SAID))
    assert (said["method"], said["target"], said["seeds"]) == ("poor", "98 %", "3")
    assert (said["early stop"], said["accuracy there"]) == ("1,600 ± 0", "80.00 ± 0.00 %")


def test_overlaps_are_those_of_the_published_file(page, folder):
    with (folder / "overlaps.csv").open(encoding="utf-8", newline="") as file:
        published = [row for row in csv.DictReader(file) if row["sparsity"] == "0.98"]
    assert len(published) == 4
    found = labels(page, OVERLAP, "rect")
    # One cell for the overlap of a pair, and one for what chance gives.
    assert len(found) == 8
    order = list(PATHS)
    expected = set()
    for row in published:
        pair = sorted((row["method"], row["other"]), key=order.index)
        shares = f"{100 * float(row['iou']):g} %, by chance {100 * float(row['chance']):g} %"
        expected.add(f"{pair[0]} and {pair[1]}: {shares}")
    assert set(found) == expected


def test_overlaps_are_shown_at_another_sparsity_and_of_one_method(page):
    choose(page, OVERLAP, "poor", 1)
    page.wait(f"labels('{OVERLAP}', 'rect').length === 4")
    assert all("poor" in label for label in labels(page, OVERLAP, "rect"))
    columns = f"[...figure('{OVERLAP}').querySelectorAll('.role-axis-label text')].map((one) => one.textContent)"
    assert set(page.run(columns)) == {"overlap", "by chance", "good", "poor"}
    choose(page, OVERLAP, "90 %")
    page.wait(f"labels('{OVERLAP}', 'rect').length === 2")
    assert set(labels(page, OVERLAP, "rect")) == {"good and poor: 75 %, by chance 50 %"}


def test_the_figures_of_maps_are_listed_when_that_is_asked_for(page):
    page.run(f"figure('{LAYERS}').querySelector('summary').click()")
    page.wait(f"listed('{LAYERS}').length > 0")
    head, *body = page.run(f"listed('{LAYERS}')")
    assert [text.strip() for text in head] == ["method", "target %", "seeds", "fc1.weight", "fc2.weight"]
    assert len(body) == 6
    assert ["poor", "98", "3", "3", "50"] in body
    page.run(f"figure('{LAYERS}').querySelectorAll('th button')[3].click()")
    assert [float(row[3]) for row in page.run(f"listed('{LAYERS}')")[1:]] == [12, 12, 3, 3, 0.75, 0.75]
    page.run(f"figure('{OVERLAP}').querySelector('summary').focus()")
    page.press("Enter", 13)
    page.wait(f"listed('{OVERLAP}').length > 0")
    head, *body = page.run(f"listed('{OVERLAP}')")
    assert [text.strip() for text in head] == [
        *("method", "other", "target %"),
        *("overlap %", "by chance %", "pairs of masks"),
    ]
    assert ["good", "poor", "98", "25", "3.125", "3"] in body
    assert len(body) == 5
    shown = f"[...figure('{OVERLAP}').querySelectorAll('tbody tr')].filter((row) => !row.hidden).length"
    list_ = f"figure('{OVERLAP}').querySelector('details select')"
    page.run(f"{list_}.value = '90'; {list_}.dispatchEvent(new Event('input', {{ bubbles: true }}))")
    assert page.run(shown) == 1
    page.run(f"figure('{OVERLAP}').querySelector('.scroll').focus()")
    assert page.run("document.activeElement.getAttribute('role')") == "region"


def test_at_one_sparsity_costs_have_their_pareto_front(page, results):
    (section,) = sections(table(select(results)))
    best = front([row for row in section.rows if row["target_sparsity"] == 0.98])
    assert [row["method"] for row in best] == ["poor", "good"]
    assert len(labels(page, COST, "symbol")) == 3
    path = f"figure('{COST}').querySelector('.mark-line path[stroke=\"var(--faint)\"]')?.getAttribute('d') ?? ''"
    spots = f"""Object.fromEntries([...figure('{COST}').querySelectorAll('.mark-symbol path')].map((one) =>
        [one.ariaLabel.split(' at ')[0], one.getAttribute('transform').match(/[\\d.]+/g).map(Number)]))"""
    places = page.run(spots)
    corners = page.run(f"({path}).match(/[\\d.]+,[\\d.]+/g).map((one) => one.split(',').map(Number))")
    # From the cheapest of the front at its height to the next, and up to it.
    (x, y), (far, up) = places["poor"], places["good"]
    assert [pytest.approx(corner, abs=0.01) for corner in ([x, y], [far, y], [far, up])] == corners
    choose(page, COST, "every sparsity")
    page.wait(f"labels('{COST}', 'symbol').length === 6")
    assert page.run(path) == ""


def test_one_legend_switches_a_method_in_all_curves_of_its_task(page):
    page.run(f"button('{STOP}', 'good').click()")
    for title, count in ((ACCURACY, 4), (COST, 2), (STOP, 4), (THERE, 4)):
        page.wait(f"labels('{title}', 'symbol').length === {count}")
        assert page.run(f"button('{title}', 'good').getAttribute('aria-pressed')") == "false"
    page.run(f"button('{ACCURACY}', 'show none').click()")
    page.wait(f"labels('{STOP}', 'symbol').length === 0")
    page.run(f"button('{COST}', 'show all').click()")
    page.wait(f"labels('{THERE}', 'symbol').length === 6")
    assert page.complaints == []


def test_the_lines_of_curves_are_named_and_the_methods_of_a_legend_are_under_their_family(page):
    names = f"[...figure('{ACCURACY}').querySelectorAll('.mark-text.role-mark text')].map((one) => one.textContent)"
    assert {name[:4] for name in page.run(names)} == {name[:4] for name in PATHS}
    page.run(f"button('{COST}', 'good').click()")
    page.wait(f"!({names}).includes('good')")
    legend = f"[...figure('{ACCURACY}').querySelectorAll('.family')].map((one) => one.innerText.split('\\n')[0])"
    assert page.run(legend) == ["other"]


@pytest.mark.parametrize(("width", "unfolded"), [(400, 1), (1280, 99)])
def test_a_narrow_page_has_the_legend_of_a_task_once_and_folded_below_that(open_page, width, unfolded):
    page = open_page(width=width, height=800)
    part = "[...document.querySelector('section:has(.legend:not([hidden]))').querySelectorAll('.legend:not([hidden])')]"
    legends = page.run(f"{part}.length")
    seen = page.run(f"{part}.filter(one => one.querySelector('button').checkVisibility()).length")
    assert legends > 1
    assert seen == min(unfolded, legends)


def test_every_plot_of_every_published_page_is_drawn(chromium):
    pages = sorted((Path(__file__).parents[2] / "leaderboard").glob("*/index.html"))
    assert len(pages) > 5
    for file in pages:
        page = chromium.open_page(f"file://{file}")
        page.wait(
            "Number(document.documentElement.dataset.plots) === document.querySelectorAll('figure script').length"
        )
        assert page.complaints == []


def test_a_method_whose_legend_has_the_focus_stands_before_the_others(page):
    faint = f"""[...figure('{ACCURACY}').querySelectorAll('.mark-symbol path')].filter(
        (one) => Number(one.getAttribute('opacity') ?? 1) < 0.5).map((one) => one.ariaLabel.split(' at ')[0])"""
    assert page.run(faint) == []
    page.run(f"button('{ACCURACY}', 'poor').focus()")
    page.wait(f"({faint}).length === 4")
    assert set(page.run(faint)) == {"good", HOSTILE}
    page.run("document.activeElement.blur()")
    page.wait(f"({faint}).length === 0")


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_maps_are_readable_in_light_and_dark_narrow_and_wide(open_page, width, scheme):
    page = open_page(width=width, height=800, scheme=scheme)
    assert page.run("document.documentElement.scrollWidth") <= width
    contrasts = page.run(CONTRASTS)
    assert len(contrasts) == 20
    assert min(contrasts) >= 4.5, contrasts
    assert page.run(CLIPPED) == []


CONTRASTS = """(() => {
  const luminance = (color) => {
    const linear = (x) => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = color.match(/[\\d.]+/g).map((x) => linear(x / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return [...document.querySelectorAll('.key span')].map((one) => {
    const style = getComputedStyle(one);
    const pair = [luminance(style.color), luminance(style.backgroundColor)].sort((a, b) => b - a);
    return (pair[0] + 0.05) / (pair[1] + 0.05);
  });
})()"""
"""WCAG's contrast of a number and its cell, for each class of both maps."""

CLIPPED = """[...document.querySelectorAll('.plot svg')].flatMap((svg) => {
  const left = svg.getBoundingClientRect().left - 1;
  const outside = (text) => text.getBoundingClientRect().left < left;
  return [...svg.querySelectorAll('text')].filter(outside).map((text) => text.textContent);
})"""
"""Labels that begin outside of their plot, and so are cut."""
