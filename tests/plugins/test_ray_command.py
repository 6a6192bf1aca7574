"""`prunebench run --executor ray` as a person meets it: a quiet terminal, Ctrl-C, a budget, and nothing left behind."""

import os
import pty
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests import runs

pytest.importorskip("ray")

pytestmark = pytest.mark.slow
LIMIT = 110
"""Seconds that a command may take before it is killed."""
SHORT = runs.SUITE.split("methods:")[0] + "methods: [random]\nsparsities: [0.5]\nseeds: 1\n"
LONG = SHORT.replace("epochs: 2", "epochs: 100_000")


class Command:
    """A run in a terminal of 80 columns, in a home and with temporary files of its own."""

    def __init__(self, folder, temporary, text, *options):
        runs.write_suite(folder, text)
        self.home = folder
        self._terminal, inner = pty.openpty()
        os.set_blocking(self._terminal, False)
        own = {"HOME": str(folder), "TMPDIR": str(temporary), "COLUMNS": "80", "TERM": "xterm"}
        self.process = subprocess.Popen(
            runs.command("run", "tiny.yaml", "--executor", "ray", *options),
            cwd=folder,
            env=runs.environment(**own),
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
        )
        os.close(inner)
        self.begun, self.said = time.monotonic(), ""

    def until(self, condition):
        """Take what is said until a condition holds."""
        while True:
            try:
                self.said += os.read(self._terminal, 65536).decode("utf-8", "replace")
            except BlockingIOError:
                pass
            except OSError:  # its other end is closed
                time.sleep(0.05)
            if condition():
                return
            if time.monotonic() - self.begun > LIMIT:
                raise TimeoutError(self.said)
            time.sleep(0.05)

    def code(self):
        self.until(lambda: self.process.poll() is not None)
        return self.process.returncode

    def end(self):
        for pid in self.family():
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._terminal)

    def family(self):
        """The processes that have its home."""
        return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if self._has_home(path)]

    def _has_home(self, path):
        try:
            return f"HOME={self.home}".encode() in path.read_bytes().split(b"\0")
        except OSError:
            return False

    def lines(self):
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.said)
        return [line.rstrip() for line in re.split(r"[\r\n]+", plain)]

    def works(self):
        """Whether a stage is being carried out, or none will be."""
        return self.process.poll() is not None or any((self.home / ".prunebench/logs").glob("*"))


@pytest.fixture
def short():
    """A folder whose name is short enough for Ray's sockets, as that of temporary files mostly is."""
    with tempfile.TemporaryDirectory(prefix="p", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def command(tmp_path, short):
    started = []

    def start(text, *options, temporary=short):
        started.append(Command(tmp_path, temporary, text, *options))
        return started[0]

    yield start
    started[0].end()


def test_a_run_is_quiet_and_leaves_nothing_behind(command, short):
    run = command(SHORT)
    assert run.code() == 0, run.said
    lines = run.lines()
    assert any(line.startswith("2 trials: 2 done") for line in lines)
    assert [line for line in lines if len(line) > 80] == []
    assert [line for line in lines if re.search(r"raylet|pid=|ray\.|[Dd]ashboard|WARN|INFO|Traceback", line)] == []
    assert run.family() == []
    assert list(short.glob("prunebench-*")) == []


def test_ctrl_c_stops_a_run_within_seconds_and_leaves_no_process(command, short):
    run = command(LONG)
    run.until(run.works)
    os.killpg(run.process.pid, signal.SIGINT)
    stopped = time.monotonic()
    assert run.code() == 130, run.said
    assert time.monotonic() - stopped < 20
    assert "stopped; the same command continues" in run.lines()
    assert not [line for line in run.lines() if "Traceback" in line]
    assert run.family() == []
    assert list(short.glob("prunebench-*")) == []


def test_a_budget_ends_what_runs_also_where_the_folder_of_temporary_files_has_a_long_name(command, short):
    temporary = short / ("long" * 8)
    temporary.mkdir()
    run = command(LONG, "--budget", "30s", temporary=temporary)
    assert run.code() == 3, run.said
    assert time.monotonic() - run.begun < 60
    assert run.family() == []
