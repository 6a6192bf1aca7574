"""Reductions: the targets of methods that remove channels, beside the sparsities of all others."""

import json
from dataclasses import replace

import pytest

import prunebench
from prunebench.api import plugins
from prunebench.api.errors import SuiteError
from prunebench.api.tasks import Reductions
from prunebench.execution.job_specs import from_values, to_values
from prunebench.suite.reading import from_plain, read_suite, to_plain, trial_from_plain, trial_to_plain

SUITE = """\
name: mixed
tasks:
  - dataset: digits
    model: mlp
    recipe: {epochs: 2, batch_size: 64, optimizer: {name: sgd, lr: 0.05}}
sparsities: [0.9]
reductions: {by: macs, of: [2, 3, 8]}
seeds: 1
methods:
  - magnitude
  - l2-filters
  - {name: l1-filters, sparsities: [0.25]}
"""


@pytest.fixture(scope="module")
def registry():
    return plugins.load()


@pytest.fixture
def suite(tmp_path, registry):
    (tmp_path / "suite.yaml").write_text(SUITE, "utf-8")
    return read_suite(tmp_path / "suite.yaml", registry)


def test_methods_that_remove_channels_have_the_reductions_and_others_the_sparsities(suite):
    found = [(trial.entry.label, trial.sparsity, trial.unit) for trial in suite.trials()]
    assert found == [
        ("dense", 0.0, "weights"),
        ("magnitude", 0.9, "weights"),
        ("l2-filters", 0.5, "macs"),
        ("l2-filters", 0.666667, "macs"),
        ("l2-filters", 0.875, "macs"),
        ("l1-filters", 0.25, "macs"),
    ]


def test_the_chain_cuts_by_the_unit_to_the_share_that_is_left(suite):
    trials = [trial for trial in suite.trials() if trial.entry.label == "l2-filters"]
    (cut,) = (stage for stage in trials[2].entry.method.stages(trials[2]) if isinstance(stage, prunebench.Cut))
    assert (cut.density, cut.unit) == (0.125, "macs")


def test_rounds_lead_to_the_target_by_equal_factors(suite, registry):
    trial = next(trial for trial in suite.trials() if trial.sparsity == 0.875)
    method = registry.find("method", "l2-filters")[0](rounds=3)
    cuts = [stage for stage in method.stages(trial) if isinstance(stage, prunebench.Cut)]
    assert [cut.density for cut in cuts] == pytest.approx([0.5, 0.25, 0.125])


def test_a_suite_and_its_trials_survive_their_plain_form(suite, registry):
    assert from_plain(json.loads(json.dumps(to_plain(suite))), registry) == suite
    for trial in suite.trials():
        assert trial_from_plain(json.loads(json.dumps(trial_to_plain(trial))), registry) == trial
        assert from_values(json.loads(json.dumps(to_values(trial, registry))), registry) == trial


def test_a_trial_of_sparsity_is_written_as_before(suite):
    assert "unit" not in trial_to_plain(next(trial for trial in suite.trials() if trial.entry.label == "magnitude"))
    assert "reductions" not in to_plain(replace(suite, reductions=None))


def test_without_reductions_sparsities_are_those_of_weights(suite):
    plain = replace(suite, reductions=None)
    found = {(trial.sparsity, trial.unit) for trial in plain.trials() if trial.entry.label == "l2-filters"}
    assert found == {(0.9, "weights")}


def test_a_factor_becomes_the_share_that_is_removed():
    assert Reductions(by="macs", of=(1.25, 3, 8)).sparsities == (0.2, 0.666667, 0.875)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            "{by: mac, of: [2]}",
            "must be 'weights', 'parameters', 'macs', 'channels' or 'latency', not 'mac'",
        ),
        ("{by: macs, of: [1]}", "reductions.of.0: must be a number above 1, not 1"),
        ("{by: macs, of: [2, 2]}", "reductions.of.1: 2 is listed twice"),
        ("{by: macs, of: []}", "reductions.of: must be a non-empty list"),
        ("{by: macs}", "reductions.of"),
        ("{by: macs, of: [2], to: 3}", "reductions.to: unknown key"),
        (
            "{by: macs, of: [2], runtime: torch}",
            "reductions.runtime: says how a latency is measured, and",
        ),
        ("{by: latency, of: [2], runtime: tensorflow}", "unknown runtime 'tensorflow'"),
        ("{by: latency, of: [2], batch_size: 0}", "reductions.batch_size: must be"),
        ("{by: latency, of: [2], runtime: {name: onnxruntime, precision: int4}}", "reductions.runtime.precision"),
        ("[2]", "reductions: must be a mapping"),
    ],
)
def test_reductions_that_make_no_sense_are_named_with_their_place(tmp_path, registry, written, message):
    text = SUITE.replace("{by: macs, of: [2, 3, 8]}", written)
    (tmp_path / "suite.yaml").write_text(text, "utf-8")
    with pytest.raises(SuiteError) as caught:
        read_suite(tmp_path / "suite.yaml", registry)
    assert message in str(caught.value)
    assert "suite.yaml:7:" in str(caught.value)


TIMED = "{by: latency, of: [2], runtime: {name: onnxruntime, precision: int8}, batch_size: 8, threads: 2}"


@pytest.fixture
def timed_suite(tmp_path, registry):
    """The suite with targets by latency, and a pipeline that cuts by it."""
    pipeline = "  - {label: both, sparsities: [0.9], stages: [initialize, train, cut: {by: l2-filters, density: 0.5, "
    pipeline += "unit: latency}, prune: {by: magnitude}]}\n"
    text = SUITE.replace("{by: macs, of: [2, 3, 8]}", TIMED) + pipeline
    (tmp_path / "suite.yaml").write_text(text, "utf-8")
    return read_suite(tmp_path / "suite.yaml", registry)


def test_a_target_by_latency_says_what_is_timed(timed_suite, registry):
    runtime = registry.find("runtime", "onnxruntime")[0](precision="int8")
    expected = prunebench.TimedPass(runtime, batch_size=8, threads=2)
    cuts = {
        trial.entry.label: (stage.density, stage.unit, stage.timed)
        for trial in timed_suite.trials()
        for stage in trial.entry.method.stages(trial)
        if isinstance(stage, prunebench.Cut)
    }
    assert cuts == {
        "l2-filters": (0.5, "latency", expected),
        "l1-filters": (0.75, "latency", expected),
        "both": (0.5, "latency", expected),
    }


def test_a_latency_is_of_one_example_in_torch_by_default(tmp_path, registry):
    (tmp_path / "suite.yaml").write_text(SUITE.replace("{by: macs, of: [2, 3, 8]}", "{by: latency, of: [2]}"), "utf-8")
    (timed,) = {trial.timed for trial in read_suite(tmp_path / "suite.yaml", registry).trials()}
    assert (timed.runtime.name, timed.batch_size, timed.threads) == ("torch", 1, 1)


def test_what_is_timed_survives_the_plain_form(timed_suite, registry):
    assert from_plain(json.loads(json.dumps(to_plain(timed_suite))), registry) == timed_suite
    for trial in timed_suite.trials():
        assert trial_from_plain(json.loads(json.dumps(trial_to_plain(trial))), registry) == trial
        assert from_values(json.loads(json.dumps(to_values(trial, registry))), registry) == trial


def test_a_pipeline_that_cuts_by_latency_needs_targets_that_say_which(tmp_path, registry):
    pipeline = (
        "  - {label: one, sparsities: [0.5], stages: [initialize, train, cut: {by: l2-filters, unit: latency}]}\n"
    )
    (tmp_path / "suite.yaml").write_text(SUITE + pipeline, "utf-8")
    with pytest.raises(SuiteError, match=r"methods\.3\.stages\.2.*needs `reductions: \{by: latency"):
        read_suite(tmp_path / "suite.yaml", registry)
