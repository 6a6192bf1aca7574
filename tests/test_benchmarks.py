"""The benchmarks run, and write down what they measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import runs

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.slow
def test_a_small_load_is_measured_and_written_down(tmp_path):
    command = [sys.executable, BENCHMARKS / "load.py", "--trials", "50", "--workers", "2", "--output", tmp_path]
    subprocess.run(command, check=True, env=runs.environment(), cwd=tmp_path, capture_output=True, timeout=600)
    found = json.loads((tmp_path / "load.json").read_text("utf-8"))
    assert (found["trials"], found["workers"]) == (50, 2)
    assert found["calls"]["publish"] == 50
    assert {"plan", "publish", "read", "write"} <= found["seconds"].keys()
    assert found["memory_mb"]["0"]["peak"] <= found["memory_mb"]["50"]["peak"]
    page = (tmp_path / "load.md").read_text("utf-8")
    assert page.startswith("# Load\n\n50 trials")
    assert found["machine"]["machine"] in page
