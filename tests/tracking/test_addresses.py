"""Addresses of MLflow: whatever a folder is called, its database and artifacts are in it and nowhere else."""

import os
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunebench.api.errors import TrackingError
from prunebench.leaderboard.boards.sources import read_source
from prunebench.tracking import Tracker, connection, contents, fetch_masks, read_results, sqlite_uri, tracking_uri
from prunebench.tracking.addresses import artifact_folder, artifact_location, engine_uri, sqlite_file

FOLDERS = [
    *("try?1", "a#b", "a%20b", "q'd\"", "a&b;c", "a:b@c", "-dash é日本", "new\nline\tx"),
    *("[br]*\\", "file:x", "$(x)`y`|z", "x" * 200),
]
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40).filter(
    lambda name: name not in (".", "..")
)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A new database, to be copied: making one takes seconds."""
    file = tmp_path_factory.mktemp("new") / "mlflow.db"
    connection._create(file)
    return file


@pytest.mark.parametrize("name", FOLDERS)
def test_results_and_artifacts_stay_in_a_folder_of_any_name(name, database, tmp_path, monkeypatch, done):
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(database, folder)
    monkeypatch.chdir(folder)
    Tracker().publish(done(layers=[{"name": "fc", "total": 8}]))
    [found] = read_results(with_layers=True)
    assert found.layers == [{"name": "fc", "total": 8}]
    assert len(list(folder.glob("mlruns/*/*/artifacts/layers.json"))) == 1
    assert contents(found.suite) is not None
    assert fetch_masks(found.suite, [found.trial], folder / "masks").keys() == {found.trial}
    assert {path.name for path in tmp_path.iterdir()} == {name, "some-masks.safetensors"}


def test_a_new_database_is_made_in_such_a_folder(tmp_path):
    (tmp_path / "try?1#%20").mkdir()
    connection._create(tmp_path / "try?1#%20" / "mlflow.db")
    assert (tmp_path / "try?1#%20" / "mlflow.db").stat().st_size > 4096
    assert [path.name for path in tmp_path.iterdir()] == ["try?1#%20"]


def test_a_name_that_is_not_utf_8_is_refused(tmp_path, monkeypatch):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(TrackingError, match="not UTF-8"):
        Tracker()
    assert list(folder.iterdir()) == []


@given(NAMES)
def test_an_address_names_its_file_again(name):
    file = Path("/somewhere") / name / "mlflow.db"
    uri = sqlite_uri(file)
    assert sqlite_file(uri) == file
    assert tracking_uri(uri) == uri
    assert sqlite_file(f"{uri}?timeout=3") == file
    assert uri.isprintable() or not name.isprintable()
    assert not set("?#\n\t") & set(uri)


@given(NAMES)
def test_sqlalchemy_opens_the_file_that_an_address_names(name):
    """SQLite itself decodes what SQLAlchemy hands to it as a URI."""
    from sqlalchemy import create_engine

    file = Path("/somewhere") / name / "mlflow.db"
    engine = create_engine(engine_uri(sqlite_uri(file)))
    [opened], options = engine.dialect.create_connect_args(engine.url)
    expected = f"file:{quote(str(file))}" if options.get("uri") else str(file)
    assert opened == expected


@given(NAMES)
def test_mlflow_finds_the_artifacts_of_a_folder(name):
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
    from mlflow.utils.uri import append_to_uri_path

    folder = Path("/somewhere") / name / "mlruns"
    of_a_run = append_to_uri_path(artifact_location(folder), "run", "artifacts")
    assert LocalArtifactRepository(of_a_run).artifact_dir == str(folder / "run" / "artifacts")


def test_a_users_address_is_decoded_as_addresses_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sqlite_file("sqlite:///a%20b%3F.db?timeout=3") == tmp_path / "a b?.db"
    assert sqlite_file("sqlite:///100%.db") == tmp_path / "100%.db"
    assert sqlite_file("sqlite:////abs/@x:y;z.db") == Path("/abs/@x:y;z.db")
    assert sqlite_file("sqlite:///file:memory?uri=true&mode=memory") is None
    assert [sqlite_file(uri) for uri in ("sqlite://", "sqlite:///:memory:", "http://host/x")] == [None] * 3
    assert artifact_folder("http://host/x", "any") is None


@pytest.mark.parametrize("name", ["a#b", "a#", "#", "a?b#c"])
def test_a_source_may_have_the_sign_that_a_suites_name_follows(name, database, tmp_path, done):
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(database, folder)
    result = done()
    Tracker(sqlite_uri(folder / "mlflow.db")).publish(result)
    for source in (folder, folder / "mlflow.db", sqlite_uri(folder / "mlflow.db")):
        assert len(read_source(str(source)).results) == 1
        assert len(read_source(f"{source}#{result.suite}").results) == 1
