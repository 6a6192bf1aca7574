"""The benchmarks run, and write down what they measured."""

import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

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


@pytest.mark.slow
def test_the_simulated_cluster_is_kept_busy_and_written_down(tmp_path):
    command = [sys.executable, BENCHMARKS / "scale.py", "--workers", "4", "--trials", "96", "--plans", "200"]
    subprocess.run(
        [*command, "--output", tmp_path], check=True, env=runs.environment(), capture_output=True, timeout=600
    )
    found = json.loads((tmp_path / "scale.json").read_text("utf-8"))
    [planned], cluster = found["planning"], found["cluster"]
    assert 150 <= planned["trials"] <= 250
    assert cluster["jobs"] >= cluster["trials"] > 90
    assert 0.9 < cluster["busy"] <= 1
    assert 0 < cluster["ms_a_job"] < 1000
    assert "A simulated cluster of 4 workers" in (tmp_path / "scale.md").read_text("utf-8")


@pytest.fixture
def script(monkeypatch):
    """Imports a benchmark by its name."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def test_a_section_that_fails_is_reported_and_the_others_go_on(script, monkeypatch, tmp_path, capsys):
    gpu = script("gpu")

    def broken(setting):
        """What this device lacks."""
        raise RuntimeError("no such\n  feature")

    def late(setting):
        raise SystemExit(7)

    sections = {"device": gpu.device, "broken": broken, "late": late, "bits": gpu.device}
    monkeypatch.setattr(gpu, "SECTIONS", sections)
    setting = gpu.Setting(torch.device("cpu"), tmp_path, tmp_path, True, time.monotonic() + 60)
    found = list(gpu.measured(list(sections), setting))
    assert [one.failed for one in found] == ["", "RuntimeError: no such feature", "SystemExit: 7", ""]
    gpu.write(found, tmp_path, "gpu")
    page = (tmp_path / "gpu.md").read_text("utf-8")
    assert "## broken\n\nWhat this device lacks. (0 s)\n\nNot measured: RuntimeError: no such feature" in page
    assert json.loads((tmp_path / "gpu.json").read_text("utf-8"))["sections"]["bits"]["figures"]["device"] == "cpu"


def test_what_has_no_time_left_is_not_begun(script, tmp_path):
    gpu = script("gpu")
    setting = gpu.Setting(torch.device("cpu"), tmp_path, tmp_path, True, time.monotonic() - 1)
    (found,) = gpu.measured(["bits"], setting)
    assert found.failed == "no time was left for it"


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
def test_without_a_gpu_its_benchmark_says_so_and_exits_with_a_code_of_its_own(tmp_path):
    command = [sys.executable, BENCHMARKS / "gpu.py", "--output", tmp_path]
    done = subprocess.run(command, env=runs.environment(), cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 3
    assert done.stderr == "benchmarks/gpu.py needs a CUDA device, and torch finds none on this machine.\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_sections_of_the_gpu_benchmark_work_on_the_processor(tmp_path):
    only = [word for name in ("device", "bits", "steps", "precision", "2:4", "resnet") for word in ("--only", name)]
    command = [sys.executable, BENCHMARKS / "gpu.py", "--device", "cpu", "--quick", "--output", tmp_path, *only]
    command += ["--data", tmp_path / "none"]
    subprocess.run(command, check=True, env=runs.environment(), cwd=tmp_path, capture_output=True, timeout=600)
    sections = json.loads((tmp_path / "gpu-cpu.json").read_text("utf-8"))["sections"]
    assert {name: bool(one["failed"]) for name, one in sections.items()} == {
        "device": False, "bits": False, "steps": False, "precision": False, "2:4": True, "resnet": False
    }  # fmt: skip
    assert all(one["equal"] for one in sections["bits"]["figures"].values())
    assert sections["bits"]["figures"]["float32"]["hashes"] != sections["bits"]["figures"]["augmented"]["hashes"]
    assert all(value > 0 for value in sections["steps"]["figures"].values())
    assert sections["resnet"]["figures"]["epochs"] == 2


@pytest.mark.slow
def test_the_benchmark_of_the_sparse_engine_measures_and_writes(tmp_path):
    script = BENCHMARKS / "sparse_engine.py"
    command = [sys.executable, script, "--only", "digits", "--rounds", "1", "--output", tmp_path]
    done = subprocess.run(
        command, check=True, env=runs.environment(), cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    points = [json.loads(line) for line in done.stdout.splitlines()[:-1]]
    assert [point["sparsity"] for point in points] == [0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.98, 0.99]
    assert all(point["loop"] > 0 and point["step"] > 0 for point in points)
    (page,) = tmp_path.glob("sparse-*.md")
    assert page.read_text("utf-8").startswith("# Training on the kept weights\n")


def test_the_kernels_of_the_sparse_benchmark_convolve(script):
    sparse = script("sparse_engine")
    for sparsity in (0.5, 0.99):
        sparse.check(sparse.SparseConvolution(3, 5, 8, sparsity))


def test_the_sparse_engine_wins_from_where_it_wins_at_all_higher_sparsities(script):
    sparse = script("sparse_engine")

    def points(*ratios):
        return [
            sparse.Point("n", at, 1.0, 1.0, ratio, ratio) for at, ratio in zip((0.5, 0.8, 0.9), ratios, strict=True)
        ]

    assert sparse.crossing(points(0.7, 1.1, 2.0)) == "from 80 % on"
    assert sparse.crossing(points(1.2, 0.9, 2.0)) == "from 90 % on"
    assert sparse.crossing(points(1.2, 1.1, 0.9)) == "at none of these sparsities"
