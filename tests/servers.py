"""Real servers for the tests, on free ports of the loopback device: PostgreSQL, and `mlflow server`.

    python tests/servers.py postgresql      start a PostgreSQL, print its address, stop it when standard input ends

Each runs under a guard that stops it when the process that wanted it ends, in whatever way.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VARIABLE = "PRUNEBENCH_TEST_POSTGRESQL"
"""Names a PostgreSQL that is running already, without a database: `postgresql+psycopg2://user:password@host:port`."""
PATIENCE, GRACE = 300, 10
"""Seconds that a server has to answer, and to end before it is killed."""
_SUPERUSER = "prunebench"
_UNPRIVILEGED = "nobody"
"""Whom PostgreSQL runs as where the tests run as root, since it refuses to."""


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


class Process:
    """A server process that ends with this one; `ending` is the signal that it ends by."""

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        ending: signal.Signals = signal.SIGTERM,
        user: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._log = log
        with log.open("ab") as output:
            self._guard = subprocess.Popen(
                [sys.executable, __file__, "guard", ending.name, user, *map(str, command)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                cwd=log.parent,
                start_new_session=True,
            )

    def await_until(self, ready: Callable[[], bool]) -> None:
        """Wait until the server answers."""
        deadline = time.monotonic() + PATIENCE
        while not ready():
            if self._guard.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"a server did not start: {self._log.read_text('utf-8', 'replace')[-2000:]}")
            time.sleep(0.1)

    def stop(self, how: str = "") -> None:
        """End the server and everything that it started, by its own signal or another."""
        with contextlib.suppress(BrokenPipeError):
            self._guard.communicate(how.encode())
        self._guard.wait()


def guard(ending: str, user: str, command: Sequence[str]) -> None:
    """Run a server until standard input ends, which may name a signal other than the server's own."""
    who = pwd.getpwnam(user) if user else None
    identity: dict[str, Any] = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []} if who else {}
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **identity)

    def await_end() -> None:
        code = server.wait()
        _signal_group(server.pid, "SIGKILL")
        os._exit(code & 0xFF)

    threading.Thread(target=await_end, daemon=True).start()
    _signal_group(server.pid, sys.stdin.read() or ending)
    time.sleep(GRACE)  # cut short by the server's end
    _signal_group(server.pid, "SIGKILL")
    time.sleep(GRACE)


def _signal_group(leader: int, name: str) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.Signals[name])


def postgresql_binaries() -> Path | None:
    """Where `initdb` and `postgres` are; Debian keeps them off the path."""
    found = [shutil.which("initdb"), *map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    folders = [Path(path).resolve().parent for path in found if path]
    return max(folders, default=None, key=lambda folder: [int(part) for part in folder.parts if part.isdigit()])


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """A new PostgreSQL, gone afterwards; gives its address, without a database."""
    binaries = postgresql_binaries()
    assert binaries is not None, "install Debian's package postgresql"
    user = _UNPRIVILEGED if os.geteuid() == 0 else ""
    # Not in pytest's folder, which a user other than root's could not enter.
    with tempfile.TemporaryDirectory(prefix="prunebench-postgresql-", ignore_cleanup_errors=True) as name:
        folder, password, port = Path(name), secrets.token_hex(16), free_port()
        (folder / "password").write_text(password, "utf-8")
        if user:
            for path in (folder, folder / "password"):
                shutil.chown(path, user)
        initdb = [binaries / "initdb", "-D", folder / "data", "-U", _SUPERUSER, f"--pwfile={folder / 'password'}"]
        initdb += ["--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, **({"user": user} if user else {}))
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        server = Process([binaries / "postgres", "-D", folder / "data", *options], folder / "log", signal.SIGINT, user)
        asked = [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        try:
            server.await_until(lambda: subprocess.run(asked, check=False).returncode == 0)
            yield f"postgresql+psycopg2://{_SUPERUSER}:{password}@127.0.0.1:{port}"
        finally:
            server.stop()


def create_database(address: str, name: str) -> str:
    """A new, empty database; gives its address."""
    import psycopg2

    connection = psycopg2.connect(f"{address.replace('+psycopg2', '')}/postgres")
    connection.autocommit = True
    try:
        connection.cursor().execute(f'CREATE DATABASE "{name}"')
    finally:
        connection.close()
    return f"{address}/{name}"


@dataclass
class MlflowServer:
    """An `mlflow server` that keeps its runs in a database and its artifacts in a folder, and hands out both."""

    database: str
    folder: Path
    options: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    _process: Process | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def start(self) -> None:
        """Start it, or start it again where it was."""
        artifacts = self.folder / "artifacts"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", self.database, "--artifacts-destination", artifacts]
        own = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self._process = Process([*command, *self.options], self.log, environment={**own, **self.environment})
        self._process.await_until(self._answers)

    def kill(self) -> None:
        """Kill it without warning."""
        self._end("SIGKILL")

    def stop(self) -> None:
        self._end()

    def _end(self, how: str = "") -> None:
        if self._process is not None:
            self._process.stop(how)
            self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextlib.contextmanager
def mlflow(database: str, folder: Path, **settings: Any) -> Iterator[MlflowServer]:
    """An `mlflow server`, started, and gone afterwards."""
    server = MlflowServer(database, folder, **settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def main(arguments: Sequence[str]) -> None:
    match arguments:
        case ["guard", ending, user, *command]:
            guard(ending, user, command)
        case ["postgresql"]:
            with postgresql() as address:
                print(address, flush=True)
                sys.stdin.read()
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
