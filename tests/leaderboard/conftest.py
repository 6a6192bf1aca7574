"""Results made by hand for the tests of the leaderboard."""

import hashlib
import zlib

import pytest

from prunebench.leaderboard.overlaps import Overlap
from prunebench.records.results import Result
from tests.browser import browser

PRUNABLE = 1000


def make(method="snipper", sparsity=0.9, seed=0, accuracy=0.9, status="done", **changes):
    """A result whose figures are easy to reckon with; `control=True` makes the dense network."""
    control = changes.get("control", False)
    sparsity = 0.0 if control else sparsity
    kept = round(PRUNABLE * (1 - sparsity))
    plain = {
        "trial": f"{method}-{sparsity}-{seed}",
        "suite": "s",
        "task": "digits",
        "protocol": "protocol-1",
        "method": method,
        "variant": f"variant of {method}",
        "sparsity": sparsity,
        "seed": seed,
        "control": control,
        "status": status,
        "reason": "" if status == "done" else "out of memory",
        "params": {"task.recipe.epochs": 40, "task.dataset.name": "digits", "method.name": method, "seed": seed},
        "provenance": {"key": f"{method}{seed}", "data": "fingerprint-1", "machine": "one machine", "torch": "2.15"},
        "started": 1700000000.0,
        "finished": 1700000100.0,
    }
    metrics = {
        "accuracy": accuracy,
        "loss": 0.5
        + zlib.crc32(method.encode(errors="surrogatepass")) / 2**40,  # methods with the same results would be one row
        "sparsity": 1 - kept / PRUNABLE,
        "parameters_prunable": PRUNABLE,
        "parameters_kept": kept,
        "parameters_total": PRUNABLE + 10,
        "training_cost": 2.0 * (1 - sparsity),
        "training_flops": 4e9,
        "inference_flops": 500.0,
        "inference_flops_dense": 2000.0,
        "steps": 100.0,
        "examples": 6400.0,
        "wall_seconds": 3.0,
        "collapsed_layers": 0.0,
    }
    metrics |= changes.pop("metrics", {})
    return Result(**({**plain, "metrics": metrics if status == "done" else {}} | changes))


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A browser, for all pages that are looked at."""
    with browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(scope="session")
def result():
    """A result, by what matters to the test."""
    return make


@pytest.fixture(scope="session")
def seeds():
    """One result a seed: seeds(0.9, 0.8) is two, of seeds 0 and 1."""
    return lambda *accuracies, **changes: [
        make(seed=seed, accuracy=accuracy, **changes) for seed, accuracy in enumerate(accuracies)
    ]


@pytest.fixture(scope="session")
def overlap():
    """What the masks of two methods of these results have in common: overlap(results, "a", "b", 0.5, 0.1)."""

    def make(results, method, other, iou, chance, sparsity=0.9):
        compared = [one for one in results if (one.status, one.sparsity) == ("done", sparsity)]
        trials = sorted(one.trial for one in compared if one.method in (method, other))
        identity = hashlib.sha256("\n".join(trials).encode()).hexdigest()[:16]
        return Overlap("s", "digits", sparsity, method, other, 3, iou, chance, identity)

    return make
