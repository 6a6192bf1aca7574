"""The dense network: the control that every method is compared with."""

from collections.abc import Iterator

import prunebench


class Dense(prunebench.Method):
    """Train without pruning anything."""

    name = "dense"
    version = 1
    control = True

    def stages(self, trial: object) -> Iterator[prunebench.Stage]:
        yield prunebench.Initialize()
        yield prunebench.Train()


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [Dense]
