"""Components of nobody's, and the shortest way from YAML to a suite or to its mistakes."""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import pytest
from annotated_types import Ge, Interval, Len
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import SuiteError
from prunebench.api.registry import Plugin, Registry
from prunebench.suite import read_suite

VALID = """\
name: small
tasks:
  - dataset: scans
    model: {name: net, hidden: [30, 10]}
    recipe: {epochs: 4, batch_size: 64, optimizer: {name: adam, lr: 1.2e-3}}
methods:
  - coin
  - {name: ladder, rate: 0.3}
sparsities: [0.8, 0.95]
seeds: 3
"""


class Dense(prunebench.Method):
    name = "dense"
    control = True


class Coin(prunebench.Method):
    """Prunes by chance."""

    name = "coin"
    allocation: Annotated[Literal["global", "erk"], Doc("how the density is shared out")] = "global"


class Ladder(prunebench.Method):
    name = "ladder"
    presets: ClassVar = {
        "paper": prunebench.Preset("its paper", {"rate": 0.1, "widths": (1, 2)}),
        "wrong": prunebench.Preset("a mistake", {"rate": 2, "rat": 1}),
    }
    rate: Annotated[float, Interval(gt=0, lt=1)] = 0.2
    rewind_to: prunebench.Time = 0
    levels: Annotated[int, Ge(1)] | None = None
    widths: tuple[int, int] = (3, 3)
    weight: float = 1  # an integer, as authors write it
    iterative: bool = True

    def __post_init__(self) -> None:
        if self.levels == 13:
            raise ValueError("13 levels bring no luck")
        if self.levels == 14:
            raise ZeroDivisionError("by the author's mistake")
        if self.levels == 15:
            raise ValueError("15 levels\nare too many")
        if self.levels == 16:
            raise ValueError
        if self.levels == 17:
            raise SystemExit(3)


class Saliency(prunebench.Method):
    """What a stage can prune by."""

    name = "saliency"
    presets: ClassVar = {"paper": prunebench.Preset("its paper", {"batches": 5})}
    batches: Annotated[int, Ge(1)] = 1
    scale: float = 1  # an integer, as authors write it

    def scores(self, scoring):
        raise AssertionError("nothing is scored while a suite is read")


class Mover(prunebench.Method):
    """What a stage can train by."""

    name = "mover"
    interval: prunebench.Time = "100it"

    def updater(self, density):
        raise AssertionError("nothing is trained while a suite is read")


class Net(prunebench.Model):
    name = "net"
    hidden: Annotated[tuple[Annotated[int, Ge(1)], ...], Len(1)] = (8,)


class Family(prunebench.Model):
    name = "family"
    variant = "member"
    member: str
    stem: Literal["small", "large"] = "large"


class Scans(prunebench.Dataset):
    name = "scans"
    mean = std = (64.0,)
    size: Annotated[int, Ge(1)] = 1000

    def facts(self) -> prunebench.DataFacts:
        return prunebench.DataFacts(shape=(1, 8, 8), classes=10, train=self.size, test=10)


class Lost(prunebench.Dataset):
    name = "lost"

    def facts(self) -> prunebench.DataFacts:
        raise RuntimeError("nobody\nknows")


class Distance(prunebench.Objective):
    name = "distance"
    targets: ClassVar = ("classes",)
    power: Annotated[int, Ge(1)] = 1

    def metrics(self, facts):
        return [prunebench.Metric(name="distance", label="distance", direction="lower")]


class Ranks(prunebench.Objective):
    name = "ranks"
    targets: ClassVar = ("ranks",)


class Nameless(Distance):
    name = "nameless"

    def metrics(self, facts):
        return []


class Taken(Distance):
    name = "taken"

    def metrics(self, facts):
        return [prunebench.Metric(name="sparsity", label="sparsity", direction="lower")]


class Ambiguous(prunebench.Method):
    name = "ambiguous"
    invert: bool = False


class Unreadable(prunebench.Method):
    name = "unreadable"
    what: "NoSuchType" = None  # noqa: F821


class Opaque(prunebench.Method):
    """JSON Schema has no word for its parameter."""

    name = "opaque"
    what: Callable[[], int] | None = None
    depth: int = 1


@pytest.fixture(scope="session")
def fakes() -> Registry:
    methods = {cls.name: cls for cls in (Dense, Coin, Ladder, Saliency, Mover, Ambiguous, Unreadable, Opaque)}
    models = {cls.name: cls for cls in (Net, Family)}
    datasets = {cls.name: cls for cls in (Scans, Lost)}
    objectives = {cls.name: cls for cls in (Distance, Ranks, Nameless, Taken)}
    broken = Plugin("spoilt", "spoilt.py", error="ImportError: no module")
    components = {"method": methods, "model": models, "dataset": datasets, "objective": objectives}
    return Registry((broken,), components)


@pytest.fixture
def valid() -> str:
    return VALID


@pytest.fixture(scope="session")
def valid_once() -> str:
    """The same for properties, whose examples share their fixtures."""
    return VALID


@pytest.fixture
def read(tmp_path, monkeypatch, fakes):
    """Read a text as `suite.yaml`."""
    monkeypatch.chdir(tmp_path)

    def read(text, *settings):
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "suite.yaml").write_bytes(data)
        return read_suite("suite.yaml", fakes, settings)

    return read


@pytest.fixture
def mistakes(read):
    """The lines of the error that a text is."""

    def mistakes(text, *settings):
        with pytest.raises(SuiteError) as caught:
            read(text, *settings)
        return str(caught.value).split("\n")

    return mistakes


@pytest.fixture
def mistake(mistakes):
    """The one line of the error that a text is."""

    def mistake(text, *settings):
        [line] = mistakes(text, *settings)
        return line

    return mistake
