"""Results are sent while a run goes on, and wait while the server is away. The servers are real, and are killed."""

import threading
import time
from collections import Counter
from urllib.parse import urlsplit

import pytest

from prunebench.tracking import URI_VARIABLE, Publisher, Tracker, publisher, read_results
from tests import runs, servers

GATE = """import time
while not Path('FOLDER', f'go-{seed}').exists():
    time.sleep(0.05)"""
SUITE = """
name: away
tasks:
  - label: tiny
    dataset: digits
    model: {name: mlp, hidden: [12]}
    recipe: {epochs: 1, batch_size: 100, optimizer: {name: sgd, lr: 0.1, momentum: 0.9}}
methods:
  - random
  - {name: mine, marks: MARKS}
sparsities: [0.5, 0.7]
seeds: 2
"""
TRIALS = 2 * (1 + 2 * 2)


def await_until(true, seconds=300):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def file(monkeypatch, sqlite):
    """A Publisher publishes to this file."""
    monkeypatch.setenv(URI_VARIABLE, sqlite)
    return sqlite


def test_what_is_put_is_sent_and_nothing_is_wrong(file, suite, done):
    sender = Publisher(suite)
    for seed in range(3):
        sender.put(done(trial=f"t{seed}", seed=seed))
    assert sender.close() == ""
    assert [result.seed for result in read_results(file, suite)] == [0, 1, 2]


def test_a_result_is_sent_while_the_run_goes_on(file, suite, done):
    sender = Publisher(suite)
    sender.put(done())
    await_until(lambda: len(read_results(file, suite)) == 1)
    assert sender.close() == ""


def test_a_publisher_that_is_not_begun_keeps_what_it_is_given(file, suite, done):
    sender = Publisher(suite, begun=False)
    sender.put(done())
    time.sleep(0.5)
    assert read_results(file, suite) == []
    sender.begin()
    await_until(lambda: len(read_results(file, suite)) == 1)
    sender.put(done(trial="t1"))
    assert sender.close() == ""
    assert len(read_results(file, suite)) == 2


def test_closing_sends_what_a_publisher_kept_and_abandoning_does_not(file, suite, done):
    kept, sent = Publisher(suite, begun=False), Publisher(suite, begun=False)
    kept.put(done())
    kept.abandon()
    sent.put(done(trial="t1"))
    assert sent.close() == ""
    assert [result.trial for result in read_results(file, suite)] == ["t1"]


@pytest.mark.parametrize("pause", [0.0, 1000.0])
def test_a_result_that_is_refused_keeps_no_other_back(file, suite, done, tmp_path, pause):
    sender = Publisher(suite, pause=pause)
    sender.put(done(masks=tmp_path / "nowhere"))
    sender.put(done(trial="t1"))
    sender.put(done(trial="t2"))
    said = sender.close()
    assert "there are no masks at" in said
    assert said.endswith("(1 results wait in the store)")
    assert [result.trial for result in read_results(file, suite)] == ["t1", "t2"]


def test_an_error_that_nobody_thought_of_is_told_and_keeps_no_other_back(file, suite, done):
    sender = Publisher(suite)
    sender.put(done(metrics={"accuracy": "no number"}))
    sender.put(done(trial="t1"))
    assert "ValueError" in sender.close()
    assert [result.trial for result in read_results(file, suite)] == ["t1"]


def test_a_server_that_is_away_is_tried_once_more_at_the_end_and_told(monkeypatch, suite, done):
    monkeypatch.setenv(URI_VARIABLE, f"http://127.0.0.1:{servers.free_port()}")
    sender = Publisher(suite)
    for seed in range(3):
        sender.put(done(trial=f"t{seed}", seed=seed))
    begun = time.monotonic()
    assert sender.close().endswith("(3 results wait in the store)")
    assert time.monotonic() - begun < 20


def test_an_abandoned_publisher_sends_no_more_than_one_result(file, suite, done):
    sender = Publisher(suite)
    for seed in range(500):
        sender.put(done(trial=f"t{seed}", seed=seed))
    begun = time.monotonic()
    sender.abandon()
    assert time.monotonic() - begun < publisher._GRACE + 1
    sent = len(read_results(file, suite))
    assert sent < 500
    time.sleep(0.5)
    assert len(read_results(file, suite)) == sent


@pytest.mark.slow
def test_a_server_that_comes_back_gets_what_waited_and_what_follows(new_postgresql, tmp_path, monkeypatch, suite, done):
    database = new_postgresql()
    server = servers.MlflowServer(database, tmp_path)
    monkeypatch.setenv(URI_VARIABLE, server.uri)
    result = {name: done(trial=name, method=name) for name in ("before", "back", "killed", "again", "last")}

    def sent():
        return sorted(result.trial for result in read_results(database, suite))

    sender = Publisher(suite, pause=0.5)
    try:
        sender.put(result["before"])  # there has been no server yet
        server.start()
        sender.put(result["back"])
        await_until(lambda: sent() == ["back", "before"])
        server.kill()
        sender.put(result["killed"])
        time.sleep(3)
        server.start()
        sender.put(result["again"])
        await_until(lambda: sent() == ["again", "back", "before", "killed"])
        time.sleep(2)  # until the sender has the server's answer too
        server.kill()
        sender.put(result["last"])
        begun = time.monotonic()
        assert sender.close().endswith("(1 results wait in the store)")
        assert time.monotonic() - begun < 20
        server.start()
        after = Publisher(suite)
        for one in result.values():
            after.put(one)
        assert after.close() == ""
    finally:
        server.stop()
    assert sent() == sorted(result)
    assert doubles(database, suite) == {}


def doubles(uri, suite):
    """Trials that have more than one run."""
    client = Tracker(uri)._client
    (experiment,) = client.search_experiments(filter_string=f"name = 'prunebench/{suite}'")
    runs = client.search_runs([experiment.experiment_id])
    counts = Counter(run.data.tags.get("prunebench.trial", "the parent") for run in runs)
    return {trial: count for trial, count in counts.items() if count > 1}


@pytest.mark.slow
def test_a_run_goes_on_without_its_server_and_the_next_one_sends_what_it_missed(new_postgresql, tmp_path):
    database, folder = new_postgresql(), tmp_path / "run"
    marks = folder / "marks"
    marks.mkdir(parents=True)
    plugin = runs.with_trouble(folder, GATE.replace("FOLDER", str(marks)))
    runs.write_suite(folder, SUITE.replace("MARKS", str(marks)))
    # One more than stand at the gate, whichever jobs come first.
    command = ["run", "tiny.yaml", "--plugin", plugin, "--workers", "5"]

    with servers.mlflow(database, tmp_path) as server:
        address = {URI_VARIABLE: server.uri}
        running = runs.begin(*command, cwd=folder, **address)
        try:
            await_until(lambda: read_results(database, "away"))
            server.kill()
            for seed in range(2):
                (marks / f"go-{seed}").touch()
            said = running.communicate(timeout=600)[1]
        finally:
            running.kill()
        assert running.returncode == 1
        assert "results wait in the store); the same command sends them" in said
        assert "Traceback" not in said
        there = len(read_results(database, "away"))
        assert 0 < there < TRIALS

        away = runs.prunebench(*command, cwd=folder, **address)  # from the start to the end
        assert away.returncode == 1
        assert f"({TRIALS} results wait in the store)" in away.stderr
        assert f"{TRIALS} cached" in away.stdout

        server.start()
        back = runs.prunebench(*command, cwd=folder, **address)
    assert (back.returncode, back.stderr.count("MLflow:")) == (0, 0)
    assert len(read_results(database, "away")) == TRIALS
    assert doubles(database, "away") == {}


@pytest.mark.slow
def test_the_same_results_make_the_same_leaderboard_wherever_they_are_kept(sqlite, postgresql, server, tmp_path):
    runs.write_suite(tmp_path)
    boards = []
    for name, uri in {"sqlite": sqlite, "postgresql": postgresql, "server": server}.items():
        done = runs.prunebench("run", "tiny.yaml", "--output", name, cwd=tmp_path, **{URI_VARIABLE: uri})
        assert done.returncode == 0, done.stderr
        boards.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert {"README.md", "rows.csv", "rows.json", "trials.csv", "tiny.svg"} <= boards[0].keys()
    assert boards[0] == boards[1] == boards[2]
    password = urlsplit(postgresql).password.encode()
    assert [path for path in tmp_path.rglob("*") if path.is_file() and password in path.read_bytes()] == []


def test_publishers_at_the_same_time_make_one_run_of_each_trial(uri, tracker, suite, done):
    writers, trials = 4, 6
    barrier, told = threading.Barrier(writers, timeout=300), []

    def write():
        tracker = Tracker(uri)
        for seed in range(trials):
            barrier.wait()
            told.append(tracker.publish(done(trial=f"t{seed}", seed=seed)))

    together = [threading.Thread(target=write) for _ in range(writers)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert len(told) == writers * trials
    assert [result.seed for result in read_results(uri, suite)] == list(range(trials))
    assert doubles(uri, suite) == {}
