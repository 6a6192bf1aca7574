"""Addresses of MLflow: where results go, and the file behind an address of SQLite, whatever characters its path has.

An address is a URI, so what means something in one is percent-encoded in a path: `?` is %3F, `#` is %23 and `%` is %25.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote_to_bytes

URI_VARIABLE = "MLFLOW_TRACKING_URI"
_RESERVED = re.compile("[%?#\x00-\x1f\x7f\ud800-\udfff]+")
"""What an address cannot have as it is: delimiters, control characters, and bytes that are not UTF-8."""
_PLAIN = re.compile(r"[\w/. +@=,~-]+")
"""Paths that MLflow takes for artifacts as they are; in others it would decode, or cut off, what it finds."""


def tracking_uri(explicit: str | None = None) -> str:
    """Where results go: `explicit`, else MLFLOW_TRACKING_URI, else mlflow.db in this folder; files by absolute path."""
    uri = explicit or os.environ.get(URI_VARIABLE)
    if not uri:
        return sqlite_uri(Path.cwd() / "mlflow.db")
    file = sqlite_file(uri)
    if file is None:
        return uri
    scheme, _, rest = uri.partition(":///")
    return sqlite_uri(file, scheme) + "".join(rest.partition("?")[1:])


def sqlite_uri(file: Path, scheme: str = "sqlite") -> str:
    """The address of a database file."""
    path = _RESERVED.sub(lambda found: quote(os.fsencode(found[0])), file.absolute().as_posix())
    return f"{scheme}:///{path}"


def sqlite_file(uri: str) -> Path | None:
    """The file that an address names, if it is an SQLite database's."""
    scheme, separator, rest = uri.partition(":///")
    path, _, query = rest.partition("?")
    if scheme.partition("+")[0] != "sqlite" or not separator or path in ("", ":memory:"):
        return None
    if path.startswith("file:") and dict(parse_qsl(query)).get("uri"):  # a URI of SQLite's own, which may name no file
        return None
    return Path.cwd() / os.fsdecode(unquote_to_bytes(os.fsencode(path)))


def engine_uri(uri: str) -> str:
    """An address as MLflow and SQLAlchemy find the same file by it.

    SQLAlchemy decodes the path of an address since version 2.1, and before it could not be told of a `?`. MLflow makes
    the parent folder of what it reads undecoded, unless the driver is named. SQLite's own form of a URI suits all.
    """
    file = sqlite_file(uri)
    if file is None or not _RESERVED.search(file.as_posix()):
        return uri
    from sqlalchemy.engine import URL

    query = dict(parse_qsl(uri.partition("?")[2], keep_blank_values=True)) | {"uri": "true"}
    name = f"file:{quote(os.fsencode(file.absolute()))}"
    return URL.create("sqlite+pysqlite", database=name, query=query).render_as_string(hide_password=False)


def artifact_folder(uri: str, experiment: str) -> Path | None:
    """Where the artifacts of an experiment are: beside the database, if that is a file."""
    file = sqlite_file(uri)
    return None if file is None else file.parent / "mlruns" / re.sub(r"[^\w.-]+", "-", experiment)


def artifact_location(folder: Path) -> str:
    """A folder as MLflow takes it: a path, or a URI where it would misread the path."""
    path = folder.as_posix()
    return path if _PLAIN.fullmatch(path) else f"file://{quote(os.fsencode(path))}"
