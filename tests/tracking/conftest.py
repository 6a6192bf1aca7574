"""The places where results are kept, each of them real: a file, a PostgreSQL, and `mlflow server` on a PostgreSQL."""

import os
import uuid

import pytest

from prunebench.records.results import METRICS, Result
from prunebench.tracking import Tracker
from tests import servers


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch, tmp_path):
    """MLflow keeps the artifacts of a database that has no file in the folder where it is used."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory):
    """A database of the tests' own; making one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/results.db"


@pytest.fixture(scope="session")
def postgresql_server():
    """The PostgreSQL that the environment names, otherwise one of the tests' own."""
    if named := os.environ.get(servers.VARIABLE):
        yield named
    elif servers.postgresql_binaries() is None:
        pytest.skip(f"{servers.VARIABLE} names no PostgreSQL, and none is installed (Debian's package: postgresql)")
    else:
        with servers.postgresql() as address:
            yield address


@pytest.fixture(scope="session")
def new_postgresql(postgresql_server):
    """Makes an empty database."""
    return lambda: servers.create_database(postgresql_server, f"tests-{uuid.uuid4().hex}")


@pytest.fixture(scope="session")
def postgresql(new_postgresql):
    return new_postgresql()


@pytest.fixture(scope="session")
def server(new_postgresql, tmp_path_factory):
    """The address of an `mlflow server` on a database of its own."""
    with servers.mlflow(new_postgresql(), tmp_path_factory.mktemp("server")) as started:
        yield started.uri


BACK_ENDS = ["sqlite", *(pytest.param(name, marks=pytest.mark.slow) for name in ("postgresql", "server"))]


@pytest.fixture(scope="session", params=BACK_ENDS)
def uri(request):
    """Each place in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def tracker(uri):
    return Tracker(uri)


@pytest.fixture
def suite(request):
    return request.node.name


@pytest.fixture
def client(uri, tracker):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


@pytest.fixture
def runs(client, suite):
    """The runs of the trials of this test's suite."""

    def found():
        experiment = client.get_experiment_by_name(f"prunebench/{suite}")
        every = [] if experiment is None else client.search_runs([experiment.experiment_id])
        return [run for run in every if "prunebench.parent" not in run.data.tags]

    return found


@pytest.fixture
def done(suite, tmp_path):
    """A done trial, by changes."""

    def make(**changes):
        masks = tmp_path / "some-masks.safetensors"
        masks.write_bytes(b"bits")
        plain = {
            "trial": "t0",
            "suite": suite,
            "task": "digits",
            "protocol": "p1",
            "method": "scores",
            "variant": "v1",
            "sparsity": 0.9,
            "seed": 3,
            "control": False,
            "status": "done",
            "params": {"recipe.optimizer.lr": 0.0012, "recipe.epochs": 40, "method.name": "scores"},
            "metrics": {name: index + 0.25 for index, name in enumerate(("accuracy", *METRICS))},
            "history": [
                {"step": 10, "time": 1700000000.123, "test_accuracy": 0.5, "train_loss": 1.5},
                {"step": 20, "time": 1700000001.456, "test_accuracy": 0.75, "train_loss": 0.5},
            ],
            "layers": [{"name": "0.weight", "shape": [3, 4], "total": 12, "kept": 5, "flops": 24.0}],
            "provenance": {"data": "d1", "machine": "a machine"},
            "masks": masks,
            "started": 1700000000.0123,
            "finished": 1700000002.5,
        }
        return Result(**(plain | changes))

    return make


@pytest.fixture
def failed(done):
    """The same trial, failed."""
    return lambda **changes: done(
        **({"status": "failed", "reason": "out of memory", "metrics": {}, "history": []} | changes),
        layers=[],
        masks=None,
    )
