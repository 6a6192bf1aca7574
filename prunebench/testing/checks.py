"""The checks of a method by their names, on each of the networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from prunebench.api import tracebacks
from prunebench.api.components import Model
from prunebench.api.errors import PluginError, PrunebenchError, Unreachable
from prunebench.api.methods import Method
from prunebench.testing import chain_checks as chains
from prunebench.testing import global_state as ambient
from prunebench.testing import metadata_checks as facts
from prunebench.testing.harness import Harness
from prunebench.testing.networks import NETWORKS
from prunebench.testing.verdicts import Nonconformity, NotApplicable

OF_METHODS: Mapping[str, Callable[[Harness], str | None]] = {
    "listing": facts.listing,
    "parameters": facts.parameters,
    "reach": facts.reach,
}
"""Checks of a method as a whole."""

ON_NETWORKS: Mapping[str, Callable[[Harness, Model], str | None]] = {
    "chain": chains.chain,
    "scores": chains.scores,
    "density": chains.density,
    "zeros": chains.zeros,
    "seeds": chains.seeds,
    "order": chains.order,
    "resume": chains.resume,
    "devices": chains.devices,
    "excluded": chains.excluded,
    "cost": chains.cost,
    "globals": chains.untouched,
    "lent": chains.context,
    "inversion": chains.inversion,
    "deploy": chains.deploy,
}
"""Checks of a method on a network."""

CHECKS: Mapping[str, str] = {
    name: (function.__doc__ or "").partition("\n")[0] for name, function in {**OF_METHODS, **ON_NETWORKS}.items()
}
"""What each check says of a method that passes it."""

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
    lab: Harness = field(repr=False, compare=False)

    @property
    def method(self) -> Method:
        return self.lab.method

    def __str__(self) -> str:
        return f"{self.name}-{self.network}" if self.network else self.name

    def __call__(self) -> str:
        """Run the check; returns a remark, or nothing."""
        __tracebackhide__ = True
        if self.name in self.lab.method.exempt:
            raise NotApplicable(f"exempt: {self.lab.method.exempt[self.name]}")
        with ambient.kept():
            try:
                return self.run() or ""
            except (Nonconformity, NotApplicable):
                raise
            except Unreachable as reason:
                raise NotApplicable(str(reason)) from None
            except Exception as error:
                raise Nonconformity(told(error, self.lab)) from None


def checks(method: Method | type[Method], networks: Sequence[Model] = NETWORKS) -> list[Check]:
    """Every check of a method, for pytest:

        @pytest.mark.parametrize("check", prunebench.testing.checks(Mine()), ids=str)
        def test_mine_conforms(check):
            check()

    Checks that need the same run of the method share it. Where nothing can be checked, `reach` fails.

    Args:
        method: an instance with the parameters to be checked, or a class for their defaults.
        networks: what it is tried on.

    Raises PluginError for a class that cannot be instantiated without parameters, or has no name.
    """
    lab = Harness(instance(method), networks)
    if unknown := lab.method.exempt.keys() - CHECKS.keys():
        raise PluginError(f"{lab.method.name!r} is exempt from {min(unknown)!r}; the checks are {', '.join(CHECKS)}")
    on_method = [Check(name, "", _bound(function, lab), lab) for name, function in OF_METHODS.items()]
    on_networks = [
        Check(name, network.name, _bound(function, lab, network), lab)
        for name, function in ON_NETWORKS.items()
        if name != "deploy" or chains.delivers(lab.method)
        for network in (networks[:1] if name == ONE_NETWORK else networks)
    ]
    return on_method + on_networks


def _bound(function: Callable[..., str | None], *arguments: object) -> Callable[[], str | None]:
    return lambda: function(*arguments)


def instance(method: Method | type[Method]) -> Method:
    """The method, with its defaults if it is a class."""
    if isinstance(method, Method):
        return method
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise PluginError(f"{method!r} is no prunebench.Method")
    try:
        return method()
    except TypeError as error:
        raise PluginError(f"{method.__name__} cannot be made with its defaults: {error}; give an instance") from None


def told(error: Exception, lab: Harness) -> str:
    """An error in words, with the author's own lines that it came from."""
    reason = str(error) if isinstance(error, PrunebenchError) else f"{type(error).__name__}: {error}"
    return "\n".join([reason, *(f"  {line}" for line in tracebacks.lines(error, lab.files))])
