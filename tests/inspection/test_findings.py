"""What is seen in a trial is what its states and its row say."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from prunebench import Prune, Structure, Train
from prunebench.api.errors import TicketError
from prunebench.inspection import inspect
from prunebench.inspection.measures import TOTAL
from prunebench.inspection.plots import drawings
from prunebench.inspection.report import bar, markdown, sections, sparkline, text, write
from prunebench.store.entries import Store


@pytest.fixture
def ticket(tiny, method, finished):
    return lambda seed=0, model=None, name="imp", **parameters: finished(
        tiny.trial(method(name, **parameters), seed=seed, task=tiny.task(model or tiny.Conv(), steps=14))
    )


def test_trainings_densities_and_figures_are_those_of_the_chain(ticket):
    one = ticket()
    found = inspect(one)
    trainings = [node for node in one.nodes if isinstance(node.stage, Train)]
    prunings = [node for node in one.nodes if isinstance(node.stage, Prune)]
    assert [(row.start, row.stop) for row in found.trainings] == [(0, 14)] * len(trainings)
    assert [row.density for row in found.trainings] == pytest.approx([1, *(one.density for one in prunings)], abs=0.01)
    assert found.trainings[-1].value == found.metrics["accuracy"] == one.end.history[-1]["test_accuracy"]
    counted = {name: int(mask.sum()) for name, mask in one.end.masks.items()}
    assert {row.layer: row.kept for row in found.densities} == {**counted, TOTAL: sum(counted.values())}
    assert [point["step"] for point in found.history] == [7, 14]


def test_movement_is_that_between_the_states_of_the_chain(ticket):
    one = ticket(iterative=False)
    found = inspect(one)
    first, end = one.state(one.nodes[0].key), one.end
    dense = one.state(one.nodes[1].key)
    for row in found.movements:
        mask = end.masks[row.layer]
        assert row.kept == pytest.approx(
            float((end.parameters[row.layer] - first.parameters[row.layer])[mask].abs().mean())
        )
        moved = (dense.parameters[row.layer] - first.parameters[row.layer]).abs()
        assert row.survived == pytest.approx(float(moved[mask].mean()))
        assert row.removed == pytest.approx(float(moved[~mask].mean()))


def test_what_was_pruned_untrained_has_no_movement_before(ticket):
    rows = inspect(ticket(name="random")).movements
    assert [(row.survived, row.removed) for row in rows] == [(None, None)] * len(rows)
    assert all(row.kept > 0 for row in rows)


def test_a_trial_shares_all_of_its_mask_with_itself_and_less_with_another_seed(ticket):
    one, other = ticket(), ticket(seed=1)
    assert [row.iou for row in inspect(one, one).overlaps] == [1.0] * 5
    rows = inspect(one, other).overlaps
    assert rows[-1].both == sum(int((one.end.masks[name] & mask).sum()) for name, mask in other.end.masks.items())
    assert rows[-1].iou < 1


def test_trials_of_other_layers_are_not_compared(tiny, ticket):
    with pytest.raises(TicketError, match=r"have other layers, and no masks in common: .*4\.weight"):
        inspect(ticket(), ticket(model=tiny.MLP()))


def test_another_origin_of_the_other_trial_is_told(tiny, method, ticket, finished):
    one = ticket()
    assert inspect(one, ticket(seed=1)).other_from == ""
    other = ticket(rate=0.3)
    assert inspect(one, other).other_from == "other parameters"
    suite = finished(tiny.trial(method("imp"), task=one.trial.task, suite="wide"))
    assert inspect(one, suite).other_from == "suite wide"
    assert inspect(one, replace(other, store=Store(Path("elsewhere")))).other_from == "other parameters, another store"
    with pytest.raises(TicketError, match=r"tiny/mine/0.5/0 \(suite wide\) have other layers"):
        inspect(one, finished(tiny.trial(method("imp"), task=tiny.task(steps=14), suite="wide")))


def test_nothing_of_the_trial_changes_when_it_is_looked_into(ticket):
    one = ticket(iterative=False)
    before = {name: value.clone() for name, value in one.end.parameters.items()}
    inspect(one, stable=True)
    assert all(torch.equal(value, one.end.parameters[name]) for name, value in before.items())


def test_the_report_fits_80_columns_and_says_everything(ticket):
    one = ticket(iterative=False)
    found = inspect(one, ticket(name="random"), stable=True)
    shown = text(found)
    assert max(map(len, shown.splitlines())) <= 80
    titles = [section.title for section in sections(found)]
    assert titles[:5] == ["Result", "Trainings", "The last training", "Layers", "Weight movement"]
    assert titles[5:] == ["Mask overlap with tiny/mine/0.5/0 (other parameters)", "Stability"]
    assert all(f"\n{title}\n" in shown and f"\n## {title}\n" in markdown(found) for title in titles)
    assert f"Error barrier {100 * found.stability.barrier:.2f} %" in shown
    assert "BatchNorm statistics were measured anew" in " ".join(shown.split())


def test_json_has_what_the_page_has(ticket):
    found = inspect(ticket(), ticket(seed=1))
    plain = found.as_json()
    assert plain["overlaps"][-1]["iou"] == found.overlaps[-1].iou
    assert plain["densities"][0]["density"] == found.densities[0].density
    assert "stability" not in plain
    assert plain.keys() >= {"trial", "metrics", "trainings", "history", "movements", "other"}


def test_the_page_stands_with_its_plots_and_is_the_same_twice(ticket, tmp_path):
    found = inspect(ticket(), ticket(seed=1))
    paths = write(found, tmp_path / "one")
    assert {path.name for path in paths} == {"README.md", "layers.svg", "movement.svg", "curves.svg", "overlap.svg"}
    page = (tmp_path / "one" / "README.md").read_text("utf-8")
    assert all(f"({path.name})" in page for path in paths if path.suffix == ".svg")
    assert drawings(found) == {path.name: path.read_bytes() for path in paths if path.suffix == ".svg"}
    assert page == markdown(found)


def test_the_output_errors_of_layers_are_shown_with_a_plot_where_there_are_any(ticket, tmp_path):
    found = inspect(ticket(name="wanda", examples=20))
    assert found.output_errors.keys() == {row.layer for row in found.densities} - {TOTAL}
    assert all(0 < error < 1 for error in found.output_errors.values())
    assert found.as_json()["output_errors"] == found.output_errors
    assert found.metrics["output_error"] == pytest.approx(sum(found.output_errors.values()) / len(found.output_errors))
    name, error = next(iter(found.output_errors.items()))
    assert found.metrics[f"output_error/{name}"] == error
    assert "Output error" in [section.title for section in sections(found)]
    assert max(map(len, text(found).splitlines())) <= 80
    assert (tmp_path / "output-error.svg") in write(found, tmp_path)
    without = inspect(ticket())
    assert "output_errors" not in without.as_json()
    assert "output_error" not in without.metrics


def test_it_says_when_a_structure_holds_after_a_permutation_only(ticket, tiny):
    permuted = Structure(1, 2, permuted=True)
    found = inspect(ticket(name="wanda", structure=permuted, model=tiny.MLP(hidden=(12,))))
    assert found.as_json()["structure"].startswith("1:2 of permuted channels: ")
    assert "1:2" in text(found)
    assert "of permuted channels" in text(found)
    assert max(map(len, text(found).splitlines())) <= 80
    plain = inspect(ticket(name="wanda", structure=Structure(1, 2), model=tiny.MLP(hidden=(12,))))
    assert "structure" not in plain.as_json()
    assert "permuted" not in text(plain)


def test_a_line_of_blocks_goes_from_the_lowest_to_the_highest():
    assert sparkline([0.0, 3.5, 7.0]) == "▁▅█"
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert sparkline(list(range(1000))) == sparkline(sorted(range(1000)))
    assert len(sparkline(list(range(1000)))) == 40


def test_a_bar_is_as_long_as_its_share():
    assert [bar(share) for share in (0.0, 0.001, 0.1, 1.0)] == ["", "█", "██", "█" * 20]
