"""Results go into MLflow once, and come back as they were, wherever it keeps them."""

import json
import math
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from prunebench.api.errors import TrackingError
from prunebench.records.results import METRICS
from prunebench.tracking import Tracker, connection, read_results
from prunebench.tracking import tracker as tracker_module
from prunebench.tracking.records import decoded, encoded


def dump(uri):
    """Everything that is in the database."""
    connection = sqlite3.connect(uri.removeprefix("sqlite:///"))
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def contents(client, runs):
    """Everything that MLflow says of some runs."""
    return [
        (run.to_dictionary(), [client.get_metric_history(run.info.run_id, key) for key in sorted(run.data.metrics)])
        for run in runs
    ]


def points(client, run):
    return {key: len(client.get_metric_history(run.info.run_id, key)) for key in run.data.metrics}


def test_what_is_read_is_what_was_published(tracker, uri, suite, done):
    result = done()
    tracker.publish(result)
    assert read_results(uri, suite, with_history=True, with_layers=True) == [replace(result, masks=None)]


def test_histories_and_layers_are_read_on_demand(tracker, uri, suite, done):
    tracker.publish(done())
    assert read_results(uri, suite) == [done(masks=None, history=[], layers=[])]


@pytest.mark.parametrize(
    "value",
    [
        "adam",
        "17",
        "0.1",
        "true",
        "null",
        "",
        '"quoted"',
        "[1, 2]",
        "NaN",
        "é",
        " x ",
        17,
        0.1,
        1e-8,
        True,
        False,
        -0.0,
    ],
)
def test_a_param_is_read_with_its_type(value):
    again = decoded(encoded(value))
    assert (again, type(again)) == (value, type(value))


def test_plain_values_are_plain_in_mlflow():
    assert [encoded(value) for value in ("adam", "500it", 40, 0.1, True)] == ["adam", "500it", "40", "0.1", "true"]


def test_numbers_that_are_none_survive(tracker, uri, suite, done):
    tracker.publish(done(metrics={"accuracy": math.nan, "loss": math.inf, "sparsity": -math.inf}))
    (read,) = read_results(uri, suite)
    assert math.isnan(read.metrics["accuracy"])
    assert (read.metrics["loss"], read.metrics["sparsity"]) == (math.inf, -math.inf)


def test_a_run_says_all_that_the_ui_needs(tracker, client, runs, done, suite):
    run_id = tracker.publish(done())
    (run,) = runs()
    assert run.info.run_id == run_id
    assert run.info.run_name == "digits/scores/0.9/3"
    assert (run.info.status, run.info.start_time, run.info.end_time) == ("FINISHED", 1700000000012, 1700000002500)
    tags = {key.removeprefix("prunebench."): value for key, value in run.data.tags.items()}
    expected = {"trial": "t0", "suite": suite, "task": "digits", "protocol": "p1", "method": "scores", "variant": "v1"}
    expected |= {"target_sparsity": "0.9", "seed": "3", "control": "false", "status": "done"}
    assert expected.items() <= tags.items()
    assert {"provenance.data": "d1", "provenance.machine": "a machine"}.items() <= tags.items()
    assert run.data.params == {"recipe.optimizer.lr": "0.0012", "recipe.epochs": "40", "method.name": "scores"}
    assert run.data.metrics["curve/test_accuracy"] == 0.75
    assert run.data.metrics["accuracy"] == 0.25
    history = client.get_metric_history(run_id, "curve/train_loss")
    assert [(point.step, point.timestamp, point.value) for point in history] == [
        (10, 1700000000123, 1.5),
        (20, 1700000001456, 0.5),
    ]


def test_masks_and_layers_are_artifacts(tracker, client, runs, done, tmp_path):
    tracker.publish(done())
    folder = Path(client.download_artifacts(runs()[0].info.run_id, "", str(tmp_path)))
    assert (folder / "masks.safetensors").read_bytes() == b"bits"
    assert json.loads((folder / "layers.json").read_text()) == done().layers
    assert [file.path for file in client.list_artifacts(runs()[0].info.run_id)] == ["layers.json", "masks.safetensors"]


def test_the_artifacts_of_a_file_are_beside_it_wherever_one_stands(sqlite, suite, done):
    from mlflow import MlflowClient

    run = MlflowClient(sqlite).get_run(Tracker(sqlite).publish(done()))
    assert (Path(run.info.artifact_uri) / "masks.safetensors").read_bytes() == b"bits"
    assert Path(run.info.artifact_uri).is_relative_to(connection.sqlite_file(sqlite).parent / "mlruns")


@pytest.mark.parametrize(("status", "shown"), [("failed", "FAILED"), ("skipped", "KILLED")])
def test_what_is_not_done_is_published_with_its_reason(tracker, uri, suite, runs, failed, status, shown):
    result = failed(status=status)
    tracker.publish(result)
    assert runs()[0].info.status == shown
    assert read_results(uri, suite) == [result]


def test_the_same_result_asked_for_otherwise_writes_nothing(sqlite, done):
    tracker = Tracker(sqlite)
    tracker.publish(done(provenance={"data": "d1", "suite.file": "a.yaml"}))
    before = dump(sqlite)
    tracker.publish(done(provenance={"data": "d1", "suite.file": "b.yaml", "suite.settings": '["seeds=1"]'}))
    assert dump(sqlite) == before
    tracker.publish(done(provenance={"data": "d2", "suite.file": "a.yaml"}))
    assert dump(sqlite) != before


def test_publishing_twice_changes_nothing(tracker, uri, client, runs, done):
    first = tracker.publish(done())
    before = contents(client, runs())
    assert Tracker(uri).publish(done()) == first
    assert contents(client, runs()) == before


def test_publishing_twice_writes_nothing(sqlite, done):
    first = Tracker(sqlite).publish(done())
    before = dump(sqlite)
    assert Tracker(sqlite).publish(done()) == first
    assert dump(sqlite) == before


@pytest.mark.parametrize("step", ["log_batch", "log_inputs", "log_artifacts", "set_terminated"])
def test_a_run_whose_writer_was_killed_is_not_read_and_is_completed_in_place(
    uri, suite, client, runs, done, monkeypatch, step
):
    def killed(*_, **__):
        raise KeyboardInterrupt

    writer, result = Tracker(uri), done(params={"task.dataset.name": "digits"}, provenance={"data": "d1"})
    writer._parent(suite)
    monkeypatch.setattr(writer._client, step, killed)
    with pytest.raises(KeyboardInterrupt):
        writer.publish(result)
    (half,) = runs()
    assert read_results(uri, suite) == []
    assert not Tracker(uri).published(suite)["t0"].complete

    assert Tracker(uri).publish(result) == half.info.run_id
    assert read_results(uri, suite, with_history=True, with_layers=True) == [replace(result, masks=None)]
    (whole,) = runs()
    assert len(whole.inputs.dataset_inputs) == 1
    expected = {"curve/test_accuracy": 2, "curve/train_loss": 2, "accuracy": 1, **dict.fromkeys(METRICS, 1)}
    assert points(client, whole) == expected


def test_nobody_else_writes_while_inputs_are_logged(sqlite, suite, done, monkeypatch):
    """MLflow looks for an input before it adds it: two runs of a suite at once would both find none, and one fail."""
    writer, file = Tracker(sqlite), sqlite.removeprefix("sqlite:///")
    log, refused = writer._client.log_inputs, []

    def watched(*given, **named):
        try:
            FileLock(f"{file}.lock", timeout=0).acquire()
        except Timeout:
            refused.append(file)
        return log(*given, **named)

    monkeypatch.setattr(writer._client, "log_inputs", watched)
    writer.publish(done(params={"task.dataset.name": "digits"}, provenance={"data": "d1"}))
    assert refused == [file]


def test_a_failed_trial_that_is_done_later_becomes_done_in_the_same_run(tracker, uri, suite, runs, failed, done):
    first = tracker.publish(failed(provenance={"data": "d1", "only": "then"}))
    assert tracker.publish(done()) == first
    assert len(runs()) == 1
    assert runs()[0].info.status == "FINISHED"
    assert read_results(uri, suite, with_history=True, with_layers=True) == [done(masks=None)]


def test_a_writer_that_is_killed_while_it_renews_a_run_leaves_it_half_written(
    uri, suite, client, runs, failed, done, monkeypatch
):
    tracker = Tracker(uri)
    first = tracker.publish(failed())
    tags = []

    def killed(run_id, tag, value):
        if tags:
            raise KeyboardInterrupt
        tags.append(tag)
        client.set_tag(run_id, tag, value)

    monkeypatch.setattr(tracker._client, "set_tag", killed)
    with pytest.raises(KeyboardInterrupt):
        tracker.publish(done())
    assert tags
    assert read_results(uri, suite) == []
    assert Tracker(uri).publish(done()) == first
    assert read_results(uri, suite) == [done(masks=None, history=[], layers=[])]


def test_a_done_trial_stays_done_when_it_fails_somewhere_else(tracker, uri, suite, runs, failed, done):
    first = tracker.publish(done())
    assert tracker.publish(failed(finished=1800000000.0)) == first
    assert [result.status for result in read_results(uri, suite)] == ["done"]
    assert len(runs()) == 1


def test_the_same_work_done_again_replaces_its_run_and_an_older_one_does_not(tracker, uri, suite, client, runs, done):
    old = done()
    new = done(finished=1800000000.0, metrics={"accuracy": 0.5}, history=[], params={"recipe.epochs": 41})
    tracker.publish(old)
    second = tracker.publish(new)
    assert tracker.publish(old) == second
    assert [run.info.run_id for run in runs()] == [second]
    assert read_results(uri, suite, with_history=True, with_layers=True) == [replace(new, masks=None)]


def test_of_two_runs_of_a_trial_always_the_same_one_counts(tracker, uri, suite, client, runs, done):
    tracker.publish(done())
    (run,) = runs()
    twin = client.create_run(run.info.experiment_id, tags={k: v for k, v in run.data.tags.items() if k[:3] == "pru"})
    client.set_terminated(twin.info.run_id, "FINISHED")
    later = max(run.info.run_id, twin.info.run_id)
    assert len(runs()) == 2
    assert len(read_results(uri, suite)) == 1
    assert Tracker(uri).published(suite)["t0"].run_id == later
    assert Tracker(uri).publish(done()) == later
    assert len(runs()) == 2


def test_one_look_at_a_suite_spares_the_look_at_every_trial(uri, suite, done, monkeypatch):
    tracker = Tracker(uri)
    ids = {f"t{seed}": tracker.publish(done(trial=f"t{seed}", seed=seed, masks=None)) for seed in range(3)}
    found = tracker.published(suite)
    assert {trial: (one.run_id, one.status, one.complete) for trial, one in found.items()} == {
        trial: (run_id, "done", True) for trial, run_id in ids.items()
    }
    monkeypatch.setattr(tracker, "_client", None)
    assert [tracker.publish(done(trial=f"t{seed}", seed=seed, masks=None)) for seed in range(3)] == list(ids.values())


def test_after_the_look_new_and_changed_trials_are_still_written(uri, suite, failed, done):
    tracker = Tracker(uri)
    first = tracker.publish(failed())
    tracker.published(suite)
    assert tracker.publish(done()) == first
    assert tracker.publish(done()) == first
    tracker.publish(done(trial="t1"))
    assert [result.status for result in read_results(uri, suite)] == ["done", "done"]


def test_nothing_is_cut_silently(tracker, uri, suite, client, runs, failed, tmp_path):
    reason, text = "out of memory " * 1000, "x" * 7000
    tracker.publish(failed(reason=reason, params={"text": text}))
    (read,) = read_results(uri, suite)
    assert read.reason.startswith("out of memory out of memory")
    assert "14000 characters, all of them in long-values.json" in read.reason
    assert "7000 characters" in read.params["text"]
    path = client.download_artifacts(runs()[0].info.run_id, "long-values.json", str(tmp_path))
    whole = json.loads(Path(path).read_text())
    assert whole == {"prunebench.reason": reason, "text": text}


def test_more_than_a_batch_is_logged_in_batches(tracker, uri, suite, done):
    history = [{"step": step, "time": 1700000000.0 + step, "test_loss": 1 / (step + 1)} for step in range(1801)]
    result = done(history=history, params={f"p{index}": index for index in range(130)})
    tracker.publish(result)
    assert read_results(uri, suite, with_history=True, with_layers=True) == [replace(result, masks=None)]


def test_names_that_mlflow_rejects_are_written_with_underscores(tracker, uri, suite, done):
    tracker.publish(done(params={"method.rates[0]": 1}, metrics={"top@5": 0.5}))
    (read,) = read_results(uri, suite)
    assert (read.params, read.metrics) == ({"method.rates_0_": 1}, {"top_5": 0.5})


def test_missing_masks_are_an_error_and_leave_no_run(tracker, runs, done, tmp_path):
    with pytest.raises(TrackingError, match=r"digits/scores/0\.9/3: there are no masks"):
        tracker.publish(done(masks=tmp_path / "nowhere"))
    assert runs() == []


def test_suites_are_experiments_and_are_read_alone_or_together(tracker, uri, suite, done):
    tracker.publish(done(suite=f"{suite} b"))
    tracker.publish(done(suite=f"{suite} a"))
    assert [result.suite for result in read_results(uri, f"{suite} b")] == [f"{suite} b"]
    assert read_results(uri, "no such suite") == []
    ours = [result.suite for result in read_results(uri) if result.suite.startswith(suite)]
    assert ours == [f"{suite} a", f"{suite} b"]


def test_pages_are_followed(tracker, uri, suite, done, monkeypatch):
    monkeypatch.setattr(tracker_module, "_PAGE", 2)
    for seed in range(5):
        tracker.publish(done(trial=f"t{seed}", seed=seed))
    assert [result.seed for result in read_results(uri, suite)] == [0, 1, 2, 3, 4]


def test_foreign_runs_of_an_experiment_are_left_alone(tracker, uri, suite, client, done):
    tracker.publish(done())
    experiment = client.get_experiment_by_name(f"prunebench/{suite}")
    client.set_terminated(client.create_run(experiment.experiment_id).info.run_id)
    assert len(read_results(uri, suite)) == 1


def test_an_experiment_that_was_deleted_comes_back_with_the_next_result(uri, suite, client, done):
    Tracker(uri).publish(done())
    client.delete_experiment(client.get_experiment_by_name(f"prunebench/{suite}").experiment_id)
    assert read_results(uri, suite) == []
    Tracker(uri).publish(done(trial="t1"))
    assert {result.trial for result in read_results(uri, suite)} >= {"t1"}


@pytest.mark.parametrize("sparsity", [7.0, -1.0, math.nan, math.inf])
def test_a_run_that_is_not_a_result_is_named_in_a_sentence(tracker, uri, suite, done, sparsity):
    tracker.publish(done(sparsity=sparsity))
    with pytest.raises(TrackingError, match=r"run \w+ is not a result as prunebench writes it: a sparsity of"):
        read_results(uri, suite)


@pytest.mark.parametrize("tag", ["finished", "seed"])
@pytest.mark.parametrize("value", ["", "x", "nan", "1e999", "9" * 5000])
def test_tags_of_another_writer_end_no_command(tracker, uri, suite, done, tag, value):
    """A time that is none is that of a run which was only half written; a seed that is none is named."""
    run = tracker.publish(done())
    tracker._client.set_tag(run, f"prunebench.{tag}", value)
    if tag == "finished":
        assert read_results(uri, suite) == []
    else:
        with pytest.raises(TrackingError, match="is not a result as prunebench writes it"):
            read_results(uri, suite)


@pytest.mark.parametrize("text", ["[" * 5000, '{"a": ' * 2000, "9" * 5000])
def test_a_param_of_any_text_is_read(text):
    assert decoded(text) == text
