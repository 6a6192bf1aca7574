"""The conformance kit: what every method must do, checked on small networks in seconds.

In the tests of a plugin:

    import prunebench.testing

    @pytest.mark.parametrize("check", prunebench.testing.checks(Mine()), ids=str)
    def test_mine_conforms(check):
        check()

On the command line it is `prunebench check mine.py`; from Python `conformance(Mine())`, whose report has `ok`.
"""

from prunebench.testing.checks import CHECKS, Check, checks
from prunebench.testing.harness import TARGETS
from prunebench.testing.networks import NETWORKS
from prunebench.testing.report import Finding, Report, conformance, markdown
from prunebench.testing.tasks import Pictures
from prunebench.testing.verdicts import ConformanceWarning, Nonconformity, NotApplicable

__all__ = [
    "CHECKS",
    "NETWORKS",
    "TARGETS",
    "Check",
    "ConformanceWarning",
    "Finding",
    "Nonconformity",
    "NotApplicable",
    "Pictures",
    "Report",
    "checks",
    "conformance",
    "markdown",
]
