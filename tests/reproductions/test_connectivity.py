"""Barriers between two trainings of a ticket: what is measured, kept, and said of them."""

import pytest

from prunebench import session


@pytest.fixture
def connectivity(script):
    return script("connectivity")


def test_what_was_measured_is_read_back(connectivity, script, tmp_path):
    rows = [connectivity.Connected("rewind-5", 0.9, seed, 19, 0.01 * seed, 0.1) for seed in range(3)]
    script("measurements").write(tmp_path / "connectivity.csv", rows)
    assert script("measurements").read(connectivity.Connected, tmp_path / "connectivity.csv") == rows


def test_nothing_was_measured_where_there_is_no_file(connectivity, script, tmp_path):
    assert script("measurements").read(connectivity.Connected, tmp_path / "connectivity.csv") == []


def test_tickets_of_a_store_are_trained_twice_more(connectivity, tmp_path, monkeypatch, suite_of_tickets):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(connectivity, "SUITE", suite_of_tickets)
    session.run_suite(session.load_suite(suite_of_tickets), store=tmp_path / "store", data=None)
    found = list(connectivity.measured(tmp_path / "store"))
    assert [(one.method, one.sparsity, one.seed, one.step) for one in found] == [("rewind-0", 0.9, 0, 0)]
    assert -1 <= found[0].barrier <= 1
    assert 0 <= found[0].error <= 1


@pytest.fixture
def suite_of_tickets(tmp_path):
    path = tmp_path / "tickets.yaml"
    path.write_text(
        "name: tickets\n"
        "tasks: [{label: t, dataset: digits, model: {name: mlp, hidden: [8]},"
        " recipe: {steps: 4, batch_size: 64, optimizer: {name: sgd, lr: 0.1}}}]\n"
        "methods: [{name: imp, label: rewind-0, iterative: false},"
        " {name: imp, label: rewind-0-reinit, iterative: false, reinitialize: true}, random]\n"
        "sparsities: [0.5, 0.9]\n"
        "seeds: 1\n"
    )
    return path


@pytest.mark.parametrize(
    ("barriers", "verdict"),
    [
        ((0.001, 0.002, 0.0), "**seen**"),
        ((0.05, 0.06, 0.07), "**not seen**"),
        ((0.0, 0.01, 0.04), "undecided"),
        ((0.001, 0.002), "undecided"),
    ],
)
def test_small_networks_are_said_to_be_stable_by_the_interval(script, connectivity, barriers, verdict):
    rows = [
        connectivity.Connected(f"rewind-{step}", 0.9, seed, step, barrier + step, 0.1)
        for seed, barrier in enumerate(barriers)
        for step in (0, 19)
    ]
    assert script("rewinding").stable(rows).verdict == verdict
