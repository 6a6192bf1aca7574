"""What the iterative methods share: the ladder of densities from the dense network down to the target."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt
from typing_extensions import Doc

import prunebench

from .magnitude import Magnitude


class Ladder(prunebench.Method):
    """Prune the smallest weights level by level; each removes the same share of what is left.

    The last level is cut to the exact target, so that all sparsities share one trajectory. Where layers have rates of
    their own it is cut at a fraction of a level: at the x at which (1 - rate) ** x of each layer add up to the target.
    """

    family = "rewinding"

    rate: Annotated[float, Gt(0), Lt(1), Doc("share of the remaining weights that each level removes")] = 0.2
    iterative: Annotated[bool, Doc("false: one level, straight to the target")] = True
    scope: Annotated[
        Literal["global", "layerwise"], Doc("rank the weights of all layers together, or those of each by themselves")
    ] = "global"
    conv_rate: Annotated[float, Ge(0), Lt(1), Doc("layerwise: that of convolutions, if not `rate`")] | None = None
    linear_rate: Annotated[float, Ge(0), Lt(1), Doc("layerwise: that of linear layers, if not `rate`")] | None = None
    output_rate: Annotated[float, Ge(0), Lt(1), Doc("layerwise: that of the last layer, if another")] | None = None

    def __post_init__(self) -> None:
        if self.scope == "global" and (self.conv_rate, self.linear_rate, self.output_rate) != (None, None, None):
            raise ValueError("conv_rate, linear_rate and output_rate belong to scope: layerwise")

    def rounds(self, trial: prunebench.Trial, back: prunebench.Rewind) -> Iterator[prunebench.Stage]:
        """The chain: train; then, level by level, prune, go `back`, and train again."""
        yield prunebench.Initialize()
        yield prunebench.Train(until=back.to)
        yield prunebench.Train()
        for pruning in self.prunings(trial):
            yield pruning
            yield back
            yield prunebench.Train()

    def prunings(self, trial: prunebench.Trial) -> Iterator[prunebench.Prune]:
        """One stage for each level."""
        if self.scope == "global":
            for density in self.ladder(trial.density):
                yield prunebench.Prune(by=Magnitude(), density=density)
            return
        network = trial.network
        shares = self._shares(network)
        parts = [(layer.size / network.size, share) for layer, (_, share) in zip(network.layers, shares, strict=True)]
        for density in self.ladder(trial.density, parts):
            yield prunebench.Prune(by=Magnitude(), density=density, allocation=shares)

    def ladder(self, target: float, parts: Sequence[tuple[float, float]] = ()) -> Iterator[float]:
        """The densities of the levels, such as 0.8, 0.64, 0.6 on the way to 0.6.

        Args:
            parts: of the network, as (size, share that a level leaves); by default it is one.
        """
        parts = parts or [(1.0, 1 - self.rate)]
        dense = sum(size for size, share in parts if share == 1)  # no level ever comes below this
        level = 1
        while self.iterative and dense < target < (density := _density(parts, level)):
            yield density
            level += 1
        yield target

    def _shares(self, network: prunebench.Network) -> tuple[tuple[str, float], ...]:
        """What a level leaves of each layer."""
        rates = {layer.name: self.linear_rate if len(layer.shape) == 2 else self.conv_rate for layer in network.layers}
        if network.output in rates and self.output_rate is not None:
            rates[network.output] = self.output_rate
        return tuple((name, round(1 - (self.rate if rate is None else rate), 12)) for name, rate in rates.items())


def _density(parts: Sequence[tuple[float, float]], level: int) -> float:
    """Rounded before it is compared: 0.8 ** 2 is a hair above 0.64, and would be a level that prunes nothing."""
    return round(sum(size * share**level for size, share in parts), 12)
