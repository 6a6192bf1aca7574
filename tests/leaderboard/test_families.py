"""The families of methods: where they come from, and how plots show them."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest

from prunebench.leaderboard.families import FAMILIES, OLDER, OTHER, family_of
from prunebench.leaderboard.plots.curves import curves_card
from prunebench.leaderboard.plots.labels import LINE
from prunebench.leaderboard.plots.marks import looks
from prunebench.leaderboard.plots.measures import primary
from prunebench.leaderboard.plots.rendering import svg
from prunebench.leaderboard.plots.style import STYLE_SHEET, of_svg
from prunebench.leaderboard.rows import records, rows
from prunebench.leaderboard.tables.sections import sections


def section_of(results):
    (section,) = sections(rows(results))
    return section


def of_family(result, family):
    return replace(result, provenance=result.provenance | {"method.family": family})


def test_the_families_of_older_results_are_those_that_the_built_in_methods_say(registry):
    said = {name: cls.family for name, cls in registry.components["method"].items()}
    assert {name: family for family, names in OLDER.items() for name in names.split()}.items() <= said.items()
    assert {family for name, family in said.items() if not registry.find("method", name)[0].control} <= {*FAMILIES}


def test_a_result_says_its_family_and_an_older_one_its_method(result):
    assert family_of(of_family(result(method="snip"), "mine")) == "mine"
    assert family_of(result(method="snip")) == "at initialization"
    assert family_of(result(method="somebodys")) == OTHER
    stages = '[{"train": {"by": null}}, {"deploy": {"by": {"name": "int8"}}}, {"prune": {"by": {"name": "obd"}}}]'
    assert family_of(result(params={"method.stages": stages})) == "after training"


def test_rows_have_the_family_of_their_results_and_missing_ones_none_of_the_known(result):
    results = [of_family(result(method="a"), "structured"), of_family(result(method="b", sparsity=0.5), "random")]
    found = records(rows(results, [("digits", label, 0.9, 0) for label in "ac"]))
    assert [(row["method"], row["family"]) for row in found] == [("a", "structured"), ("c", OTHER)]


def test_a_family_has_one_colour_and_its_methods_differ_in_line_and_shape(result):
    found = looks(section_of([of_family(result(method=f"m{n:02}"), FAMILIES[n % 3]) for n in range(36)]))
    hues = {(one["family"], one["hue"]) for one in found}
    assert len(hues) == len({hue for _, hue in hues}) == 3
    for family in FAMILIES[:3]:
        own = [one for one in found if one["family"] == family]
        assert len({(one["shape"], str(one["dash"])) for one in own}) == len(own) == 12
    assert {one["color"] for one in found} == {one[name] for one in found for name in ("hue", "ink")}


def test_a_family_that_no_built_in_method_has_is_named_and_looks_like_other(result):
    found = looks(section_of([of_family(result(method="a"), "quantum"), result(method="b")]))
    assert [one["family"] for one in found] == ["quantum", OTHER]
    assert len({one["hue"] for one in found}) == 1


def places(card, names):
    """Where each name is that an SVG has, from its left and from above, by its last occurrence before the legend."""
    text = svg(card).decode()
    found = {}
    for x, y, said in re.findall(r"<text[^>]*translate\(([-\d.]+),([-\d.]+)\)[^>]*>([^<]+)</text>", text):
        if said in names:
            found.setdefault(said, (float(x), float(y)))
    return found


def test_names_are_at_the_ends_of_lines_and_do_not_touch(result):
    names = [f"m{n}" for n in range(9)]
    results = [
        result(method=name, sparsity=sparsity, accuracy=0.9 - n / 1000 - sparsity / 9)
        for n, name in enumerate(names)
        for sparsity in (0.8, 0.9)
    ]
    results += [result(method="far", accuracy=0.5), result(method="short", sparsity=0.8, accuracy=0.7)]
    section = section_of(results[2:])
    found = places(curves_card(section, primary(section)), [*names, "far", "short"])
    beside = sorted(y for name, (x, y) in found.items() if name != "short")
    assert len(beside) == 9
    assert len({x for name, (x, _) in found.items() if name != "short"}) == 1
    assert found["short"][0] < found["far"][0]
    assert min(low - high for high, low in itertools.pairwise(beside)) >= LINE - 0.1


def test_the_legend_of_an_svg_has_each_family_with_its_methods(result):
    results = [of_family(result(method="a", accuracy=0.9), "structured"), of_family(result(method="b"), "random")]
    results.append(of_family(result(method="c", accuracy=0.8), "structured"))
    section = section_of(results)
    _, key = curves_card(section, primary(section))["vconcat"]
    heads, entries = key["layer"][0]["data"]["values"], key["layer"][2]["data"]["values"]
    assert [head["family"] for head in heads] == ["structured", "random"]
    assert {one["method"]: one["y"] for one in entries} == {"a": heads[0]["y"], "c": heads[0]["y"], "b": heads[1]["y"]}


# Colours

VISIONS = {
    "all": np.eye(3),
    "protanopia": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "deuteranopia": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "tritanopia": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}
"""What linear RGB looks like to whom (Machado et al. 2009, severity 1)."""
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(color):
    share = np.frombuffer(bytes.fromhex(color[1:]), np.uint8) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    white = XYZ @ np.clip(rgb, 0, 1) / XYZ.sum(1)
    x, y, z = np.where(white > 0.008856, np.cbrt(white), 7.787 * white + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one, other):
    low, high = sorted(XYZ[1] @ linear(color) + 0.05 for color in (one, other))
    return high / low


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colours_of_families_stand_out_and_differ_for_any_colour_vision(scheme):
    light, _, dark = STYLE_SHEET.read_text("utf-8").partition("@media")
    colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light if scheme == "light" else dark))
    series = [colors[f"series-{place}"] for place in range(len(FAMILIES))]
    assert min(contrast(color, colors["card"]) for color in series) >= 3
    for vision in VISIONS.values():
        seen = [lab(vision @ linear(color)) for color in series]
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) >= 10


def test_names_in_a_familys_shade_are_legible(result):
    section = section_of([of_family(result(method=family), family) for family in FAMILIES])
    assert min(contrast(of_svg(look["ink"]), "#ffffff") for look in looks(section)) >= 4.5
