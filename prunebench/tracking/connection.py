"""A connection to MLflow: where it is, how long to wait for it, and its errors in our words.

MLflow is imported by the first connection, never before: importing this module costs nothing.
"""

from __future__ import annotations

import glob
import logging
import os
import socket
import sqlite3
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from filelock import FileLock

from prunebench.api.errors import TrackingError, Unavailable
from prunebench.messages.redaction import redacted
from prunebench.tracking.addresses import artifact_location, engine_uri, sqlite_file, sqlite_uri
from prunebench.tracking.databases import check_address

if TYPE_CHECKING:
    from mlflow import MlflowClient

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_TRUNCATE_LONG_VALUES": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
"""Defaults, each of which the environment may overrule. MLflow's own would wait four minutes for a dead server."""
_MODULES = {"mlflow", "sqlalchemy", "google", "json", "requests", "urllib3"}
"""Whose errors are MLflow's, as they see it: of a page instead of an answer for instance."""
_PASSING = (408, 425, 429)
"""HTTP's status codes below 500 that ask to try again."""
_LONGEST_REASON = 400
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_ADVISORY = int.from_bytes(b"prune")
"""The number of our lock in a PostgreSQL, of which there is one in each of its databases."""
_PATIENCE = 120
"""Seconds to wait for whoever holds the lock of a database: making one takes some."""


def connect(uri: str) -> MlflowClient:
    """A client whose database is there and whole; for a server, one that answers within seconds."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    check_address(uri, wait=True)
    _knock(uri)
    _load(uri)
    for name in ("mlflow.store.db.utils", "urllib3.connectionpool"):  # our own errors report these problems
        logging.getLogger(name).setLevel(logging.CRITICAL)
    _prepare(uri)
    with locked(uri), warnings.catch_warnings():  # two first users at once would break the migrations of the database
        warnings.simplefilter("ignore")  # of MLflow's own dependencies
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=engine_uri(uri))
        client.search_experiments(max_results=1)
    return client


def _knock(uri: str) -> None:
    """Whether a database server answers; MLflow itself would try for a hundred seconds."""
    parts = urlsplit(uri)
    port = _PORTS.get(parts.scheme.partition("+")[0])
    if port and parts.hostname:
        socket.create_connection((parts.hostname, parts.port or port), timeout=5).close()


def _load(uri: str) -> None:
    """Import what takes seconds, before anything is locked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow's own dependencies
        import mlflow

        if lockable(uri):
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def _prepare(uri: str) -> None:
    """Write-ahead logging, three times faster, for a database that is made here or is this folder's own."""
    file = sqlite_file(uri)
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and file != Path.cwd() / "mlflow.db":  # it may lie on a network disk, where this is not safe
        return
    with locked(uri):
        if not file.exists():
            _create(file)
        connection = sqlite3.connect(file, timeout=20)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()


def _create(file: Path) -> None:
    """Make the database aside and rename it: MLflow cannot go on with one whose migrations were cut off half-way."""
    for left in file.parent.glob(f".{glob.escape(file.name)}.new*"):
        left.unlink(missing_ok=True)
    aside = file.with_name(f".{file.name}.new")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow's own dependencies
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        make: Any = SqlAlchemyStore  # it has no types
        make(engine_uri(sqlite_uri(aside)), artifact_location(file.parent / "mlruns")).engine.dispose()
    aside.rename(file)


def lockable(uri: str) -> bool:
    """Whether `locked` keeps the other users of this address out."""
    return sqlite_file(uri) is not None or _is_postgresql(uri)


def locked(uri: str) -> AbstractContextManager[Any]:
    """Alone with a database, among the processes that use this; MLflow's server has no such thing."""
    if _is_postgresql(uri):
        return _advisory_lock(uri)
    file = sqlite_file(uri)
    return nullcontext() if file is None else FileLock(f"{file}.lock", timeout=_PATIENCE)


def _is_postgresql(uri: str) -> bool:
    return uri.partition(":")[0].partition("+")[0] == "postgresql"


@contextmanager
def _advisory_lock(uri: str) -> Iterator[None]:
    """A lock of PostgreSQL's own, which goes with the connection however that ends."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    engine = create_engine(uri, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"SET lock_timeout = '{_PATIENCE}s'"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY})
        yield


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """MLflow's errors, and those of what lies below it, as TrackingError, without the address's password."""
    try:
        yield
    except Exception as error:
        if not _is_tracking(error):
            raise
        kind = Unavailable if _is_passing(error, uri) else TrackingError
        raise kind(f"MLflow at {redacted(uri)}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """The first line of what an error says; a server's answer may be a page of any length."""
    said = redacted(str(error).strip().partition("\n")[0] or type(error).__name__)
    return textwrap.shorten(said, _LONGEST_REASON, placeholder=" ...")


def _is_tracking(error: Exception) -> bool:
    modules = {cls.__module__.partition(".")[0] for cls in type(error).__mro__}
    return isinstance(error, (OSError, ImportError, sqlite3.Error)) or bool(modules & _MODULES)


def _is_passing(error: Exception, uri: str) -> bool:
    """Whether the same may work later: a server that is away, busy, or behind a page of another program's."""
    if sqlite_file(uri) is not None:
        return "database is locked" in str(error)
    if isinstance(error, (ImportError, PermissionError, FileNotFoundError)):
        return False
    status = getattr(error, "get_http_status_code", lambda: 500)()
    return status >= 500 or status in _PASSING
