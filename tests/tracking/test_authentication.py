"""A server that asks who one is: MLflow's own variables answer it, and what they say is written down nowhere."""

import base64
import secrets

import pytest

from prunebench.api.errors import TrackingError
from prunebench.tracking import URI_VARIABLE, Tracker, read_results
from tests import runs, servers

USER, PASSWORD, TOKEN = "admin", secrets.token_hex(16), secrets.token_hex(16)
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
WHO = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
AUTHORITY = f"""
from flask import request
from mlflow.server.auth import authenticate_request_basic_auth
from werkzeug.datastructures import Authorization


def authenticate():
    if request.headers.get("Authorization") == "Bearer {TOKEN}":
        return Authorization("basic", {{"username": "{USER}"}})
    return authenticate_request_basic_auth()
"""
SETTINGS = """
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = sqlite:///{folder}/users.db
admin_username = admin
authorization_function = authority:authenticate
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the server keeps runs and artifacts."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def guarded(folder, tmp_path_factory):
    """The address of an `mlflow server` that asks for a password or a token."""
    own = tmp_path_factory.mktemp("authority")
    (own / "authority.py").write_text(AUTHORITY, "utf-8")
    (own / "settings.ini").write_text(SETTINGS.format(folder=own), "utf-8")
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(own / "settings.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
        "PYTHONPATH": str(own),
    }
    database = f"sqlite:///{folder}/runs.db"
    with servers.mlflow(database, folder, options=("--app-name", "basic-auth"), environment=environment) as server:
        yield server.uri


@pytest.fixture(scope="module")
def ran(guarded, folder, tmp_path_factory):
    """A run of the tiny suite by somebody who has the password; gives what it printed, and its folder."""
    here = tmp_path_factory.mktemp("run")
    runs.write_suite(here)
    arguments = ("run", "tiny.yaml", "--set", "seeds=1", "--only", "method=random")
    return runs.prunebench(*arguments, cwd=here, **{URI_VARIABLE: guarded}, **WHO), here


def secrets_in(text):
    return [name for name, secret in {"password": PASSWORD, "token": TOKEN, "basic": BASIC}.items() if secret in text]


def test_a_user_name_and_a_password_open_the_server_to_a_run(ran, guarded, monkeypatch):
    done, here = ran
    assert done.returncode == 0, done.stderr
    assert (here / "results/tiny/README.md").is_file()
    for name, value in WHO.items():
        monkeypatch.setenv(name, value)
    assert {result.status for result in read_results(guarded, "tiny")} == {"done"}


def test_a_token_opens_it_too(ran, guarded):
    _, here = ran
    board = runs.prunebench("leaderboard", "tiny", cwd=here, **{URI_VARIABLE: guarded, "MLFLOW_TRACKING_TOKEN": TOKEN})
    assert board.returncode == 0, board.stderr
    assert "random" in board.stdout
    assert secrets_in(board.stdout + board.stderr) == []


@pytest.mark.parametrize(
    "who", [{}, {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": TOKEN}, {"MLFLOW_TRACKING_TOKEN": BASIC}]
)
def test_who_has_neither_is_told_so_without_what_was_tried(ran, guarded, monkeypatch, who):
    for name, value in who.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrackingError, match="401") as caught:
        Tracker(guarded)
    assert secrets_in(str(caught.value)) == []
    with pytest.raises(TrackingError, match="401"):
        read_results(guarded, "tiny")


def test_a_password_in_the_address_works_and_is_not_told(ran, guarded, monkeypatch):
    address = guarded.replace("://", f"://{USER}:{PASSWORD}@")
    assert {result.status for result in read_results(address, "tiny")} == {"done"}
    with pytest.raises(TrackingError) as caught:
        Tracker(address.replace(PASSWORD, TOKEN))
    assert secrets_in(str(caught.value)) == []


def test_no_secret_is_written_anywhere(ran, folder):
    done, here = ran
    files = [path for root in (here, folder) for path in root.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"record.json", "README.md", "runs.db", "server.log", "masks.safetensors"} <= names
    assert [path for path in files if secrets_in(path.read_bytes().decode("latin-1"))] == []
    assert secrets_in(done.stdout + done.stderr) == []
