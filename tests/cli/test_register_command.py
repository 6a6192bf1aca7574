"""`prunebench register` on a suite that was run: the best networks in MLflow's registry."""

import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file

from prunebench.inspection import open_trial
from prunebench.session import load_suite
from tests import runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which two methods of the tiny suite were run for three seeds."""
    folder = tmp_path_factory.mktemp("register")
    runs.write_suite(folder)
    chosen = ("--only", "method=imp,method=random,sparsity=0.7", "--set", "seeds=3")
    done = runs.prunebench("run", "tiny.yaml", *chosen, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def test_the_best_network_becomes_a_version_once(here, prunebench, tmp_path):
    first = prunebench("register", "tiny.yaml", "--set", "seeds=3", "--only", "sparsity=0.7")
    assert first.exit_code == 0, first.output
    client = MlflowClient("sqlite:///mlflow.db", registry_uri="sqlite:///mlflow.db")
    [version] = client.search_model_versions("name = 'tiny-tiny'")
    runs_of = {
        run.data.tags["mlflow.runName"]: run
        for run in client.search_runs([one.experiment_id for one in client.search_experiments()])
    }
    means, seeds = {}, {}
    for method in ("imp", "random"):
        values = {seed: runs_of[f"tiny/{method}/0.7/{seed}"].data.metrics["accuracy"] for seed in range(3)}
        means[method] = sum(values.values()) / 3
        seeds[method] = sorted(values, key=lambda seed: (values[seed], seed))[1]
    best = max(means, key=means.get)
    trial = f"tiny/{best}/0.7/{seeds[best]}"
    assert (version.tags["trial"], version.tags["method"], version.tags["sparsity"]) == (trial, best, "0.7")
    assert version.run_id == runs_of[trial].info.run_id
    assert first.output.startswith(f"tiny-tiny version 1: {trial}, accuracy ")

    fetched = client.download_artifacts(version.run_id, "network/network.safetensors", str(tmp_path))
    finished = open_trial(load_suite("tiny.yaml", settings=["seeds=3"]), trial)
    expected = finished.context.loaded(finished.end).state_dict()
    found = load_file(fetched)
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())

    again = prunebench("register", "tiny.yaml", "--set", "seeds=3", "--only", "sparsity=0.7")
    assert "version 1, as before: " in again.output
    assert len(client.search_model_versions("name = 'tiny-tiny'")) == 1

    named = prunebench("register", "tiny.yaml", "--set", "seeds=3", "--only", "sparsity=0.7", "--name", "mine")
    assert named.output.startswith("mine version 1: ")


def test_one_row_alone_is_the_best_of_nothing(here, prunebench):
    refused = prunebench("register", "tiny.yaml", "--set", "seeds=3", "--only", "method=imp,sparsity=0.7")
    assert refused.exit_code == 1
    assert "no sparsity of tiny has two complete rows to choose from" in refused.output


@pytest.mark.parametrize("name", ["a/b", "a:b", "it's", " "])
def test_a_name_that_mlflow_does_not_take_is_refused_at_once(tmp_path, monkeypatch, prunebench, name):
    monkeypatch.chdir(tmp_path)
    refused = prunebench("register", "no-suite.yaml", "--name", name)
    assert refused.exit_code == 2
    assert "MLflow takes no name that is empty or has one of / : '" in " ".join(refused.output.split())
