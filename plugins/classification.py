"""Classification, the objective of every task whose targets are classes."""

import prunebench


@prunebench.hookimpl
def register_objectives() -> list[type[prunebench.Objective]]:
    return [prunebench.Classification]
