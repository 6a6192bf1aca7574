"""Static sparse training: the baseline of the methods that move connections."""

from collections.abc import Iterator

import prunebench

from .drop_grow import SparseTraining


class Static(SparseTraining):
    """Train under a random mask that never changes.

    It costs what dynamic sparse training costs, so whatever that gains above it comes from moving connections.
    """

    name = "static"
    family = "random pruning"
    version = 1
    reference = "Evci et al. 2020, arXiv:1911.11134; ER: Mocanu et al. 2018, arXiv:1707.04780"
    presets = {
        "rigl-uniform": prunebench.Preset(
            "Evci et al. 2020: the same density in every layer but the first, which is dense",
            {"allocation": "uniform-first-dense"},
        ),
    }

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        yield from self.begun(trial)
        yield prunebench.Train()


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [Static]
