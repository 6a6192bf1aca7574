"""The dense network: the control that every method is compared with, and the network that a task was given."""

from collections.abc import Iterator

import prunebench


class Dense(prunebench.Method):
    """Train without pruning anything."""

    name = "dense"
    family = "control"
    version = 1
    control = True

    def stages(self, trial: object) -> Iterator[prunebench.Stage]:
        yield prunebench.Initialize()
        yield prunebench.Train()


class DenseAsGiven(prunebench.Method):
    """Take the network in the task's file of weights as it is, without training.

    Every suite has it for the tasks whose file has all weights of the network, beside `dense`, which fine-tunes them.
    """

    name = "dense-as-given"
    family = "control"
    version = 1
    control = True
    as_given = True

    def stages(self, trial: object) -> Iterator[prunebench.Stage]:
        yield prunebench.Initialize()


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [Dense, DenseAsGiven]
