"""The checks of a method by their names, on each of the networks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from prunebench.api.components import Model
from prunebench.api.errors import PluginError, PrunebenchError, Unreachable
from prunebench.api.methods import Method
from prunebench.messages import tracebacks
from prunebench.messages.suggestions import near, shown
from prunebench.testing import chain_checks, global_state, metadata_checks
from prunebench.testing.harness import Harness
from prunebench.testing.networks import NETWORKS
from prunebench.testing.verdicts import Nonconformity, NotApplicable

OF_METHODS: Mapping[str, Callable[[Harness], str | None]] = {
    "listing": metadata_checks.listing,
    "parameters": metadata_checks.parameters,
    "reach": metadata_checks.reach,
}
"""Checks of a method as a whole."""

ON_NETWORKS: Mapping[str, Callable[[Harness, Model], str | None]] = {
    "chain": chain_checks.chain,
    "scores": chain_checks.scores,
    "density": chain_checks.density,
    "zeros": chain_checks.zeros,
    "seeds": chain_checks.seeds,
    "order": chain_checks.order,
    "resume": chain_checks.resume,
    "devices": chain_checks.devices,
    "excluded": chain_checks.excluded,
    "cost": chain_checks.cost,
    "globals": chain_checks.untouched,
    "context": chain_checks.context,
    "inversion": chain_checks.inversion,
    "deploy": chain_checks.deploy,
}
"""Checks of a method on a network."""

CHECKS: Mapping[str, str] = {
    name: (function.__doc__ or "").partition("\n")[0] for name, function in {**OF_METHODS, **ON_NETWORKS}.items()
}
"""What is true of a method that passes each check."""

ONE_NETWORK = "inversion"
"""Checked on the first network only: on others even good scores at initialization may be worse than their inverse."""


@dataclass(frozen=True)
class Check:
    """One check of one method, to be called; its text is an id for pytest.

    Raises:
        Nonconformity: an AssertionError that says what is wrong, with the author's own lines of a traceback.
        NotApplicable: a unittest.SkipTest that says why there is nothing to be checked.
    """

    name: str
    network: str
    """Its name; empty for a check of the method as a whole."""
    run: Callable[[], str | None] = field(repr=False, compare=False)
    harness: Harness = field(repr=False, compare=False)

    @property
    def method(self) -> Method:
        return self.harness.method

    def __str__(self) -> str:
        return f"{self.name}-{self.network}" if self.network else self.name

    def __call__(self) -> str:
        """Run the check; returns a remark, or nothing."""
        __tracebackhide__ = True
        if self.name in self.harness.method.exempt:
            raise NotApplicable(f"exempt: {self.harness.method.exempt[self.name]}")
        with global_state.kept():
            try:
                return self.run() or ""
            except (Nonconformity, NotApplicable):
                raise
            except Unreachable as reason:
                raise NotApplicable(str(reason)) from None
            except Exception as error:
                raise Nonconformity(_described(error, self.harness)) from None


def checks(
    method: Method | type[Method], networks: Sequence[Model] = NETWORKS, only: Collection[str] | None = None
) -> list[Check]:
    """The checks of a method, for pytest:

        @pytest.mark.parametrize("check", prunebench.testing.checks(Mine()), ids=str)
        def test_mine_conforms(check):
            check()

    Checks that need the same run of the method share it. Where nothing can be checked, `reach` fails.

    Args:
        method: an instance with the parameters to be checked, or a class for their defaults.
        networks: what it is tried on.
        only: names of the checks to run, of those in `CHECKS`; by default all.

    Raises PluginError for a class that cannot be instantiated without parameters or has no name, and for an unknown
    check.
    """
    for name in only or ():
        if name not in CHECKS:
            raise PluginError(
                f"there is no check {shown(name)}{near(name, list(CHECKS))}; the checks are {', '.join(CHECKS)}"
            )
    harness = Harness(instance(method), networks)
    if unknown := harness.method.exempt.keys() - CHECKS.keys():
        raise PluginError(
            f"{harness.method.name!r} is exempt from {min(unknown)!r}; the checks are {', '.join(CHECKS)}"
        )
    on_method = [Check(name, "", _bound(function, harness), harness) for name, function in OF_METHODS.items()]
    on_networks = [
        Check(name, network.name, _bound(function, harness, network), harness)
        for name, function in ON_NETWORKS.items()
        if name != "deploy" or chain_checks.delivers(harness.method)
        for network in (networks[:1] if name == ONE_NETWORK else networks)
    ]
    return [check for check in on_method + on_networks if only is None or check.name in only]


def _bound(function: Callable[..., str | None], *arguments: object) -> Callable[[], str | None]:
    return lambda: function(*arguments)


def instance(method: Method | type[Method]) -> Method:
    """The method, with its defaults if it is a class."""
    if isinstance(method, Method):
        return method
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise PluginError(f"{method!r} is not a prunebench.Method")
    try:
        return method()
    except TypeError as error:
        raise PluginError(f"{method.__name__} cannot be made with its defaults: {error}; give an instance") from None


def _described(error: Exception, harness: Harness) -> str:
    """An error in words, with the author's own lines that it came from."""
    reason = str(error) if isinstance(error, PrunebenchError) else f"{type(error).__name__}: {error}".removesuffix(": ")
    return "\n".join([reason, *(f"  {line}" for line in tracebacks.lines(error, harness.files))])
