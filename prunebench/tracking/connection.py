"""A connection to MLflow: where it is, how long to wait for it, and its errors in our words.

MLflow is imported by the first connection, never before: importing this module costs nothing.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from filelock import FileLock

from prunebench.errors import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

URI_VARIABLE = "MLFLOW_TRACKING_URI"

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_TRUNCATE_LONG_VALUES": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}
"""Defaults, each of which the environment may overrule. MLflow's own would wait four minutes for a dead server."""
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_ADVISORY = int.from_bytes(b"prune")
"""The number of our lock in a PostgreSQL, of which there is one in each of its databases."""
_PATIENCE = 120
"""Seconds to wait for whoever holds the lock of a database: making one takes some."""


def tracking_uri(explicit: str | None = None) -> str:
    """Where results go: `explicit`, else MLFLOW_TRACKING_URI, else mlflow.db in this folder; files by absolute path."""
    uri = explicit or os.environ.get(URI_VARIABLE) or "sqlite:///mlflow.db"
    file = sqlite_file(uri)
    if file is None:
        return uri
    scheme, _, path = uri.partition(":///")
    return f"{scheme}:///{file.as_posix()}{''.join(path.partition('?')[1:])}"


def redacted(text: str) -> str:
    """`text` without the user names, passwords and tokens of the addresses in it."""
    text = re.sub(r"(?<=://)[^/\s]*@", "***@", text)
    return re.sub(r"(?i)((?:password|token|secret)=)[^&\s'\"]*", r"\1***", text)


def connect(uri: str) -> MlflowClient:
    """A client whose database is there and whole; for a server, one that answers within seconds."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    _knock(uri)
    _load(uri)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    _prepare(uri)
    with locked(uri), warnings.catch_warnings():  # two first users at once would break the migrations of the database
        warnings.simplefilter("ignore")  # of MLflow's own dependencies
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri)
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
    for left in file.parent.glob(f".{file.name}.new*"):
        left.unlink(missing_ok=True)
    aside = file.with_name(f".{file.name}.new")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow's own dependencies
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        make: Any = SqlAlchemyStore  # it has no types
        make(f"sqlite:///{aside}", (file.parent / "mlruns").as_posix()).engine.dispose()
    aside.rename(file)


def sqlite_file(uri: str) -> Path | None:
    """The file that an address names, if it is an SQLite database's."""
    scheme, separator, path = uri.partition(":///")
    if scheme.partition("+")[0] != "sqlite" or not separator or path in ("", ":memory:"):
        return None
    return Path.cwd() / path.partition("?")[0]


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
        reason = redacted(str(error).strip().partition("\n")[0] or type(error).__name__)
        raise TrackingError(f"MLflow at {redacted(uri)}: {reason}") from None


def _is_tracking(error: Exception) -> bool:
    modules = {cls.__module__.partition(".")[0] for cls in type(error).__mro__}
    return isinstance(error, (OSError, ImportError, sqlite3.Error)) or bool(modules & {"mlflow", "sqlalchemy"})
