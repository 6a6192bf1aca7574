"""SET: sparse evolutionary training."""

import torch

import prunebench

from .drop_grow import DropGrow, Rewiring


class SET(DropGrow):
    """Every so often drop the smallest weights of each layer, and grow as many at random places.

    Places are drawn evenly from all that are not kept, those just dropped among them.
    """

    name = "set"
    version = 1
    reference = "Mocanu et al. 2018, arXiv:1707.04780"
    presets = {
        "paper": prunebench.Preset(
            "Mocanu et al. 2018: ER, a constant 30 % after every epoch (there, 30 % of each sign)",
            {"allocation": "er", "interval": "1ep", "until": "end", "decay": "constant"},
        ),
        "rigl-paper": prunebench.Preset("Evci et al. 2020, arXiv:1911.11134: the schedule of RigL"),
    }

    def updater(self, density: float | None) -> prunebench.Updater:
        return _RandomGrowth(self)


class _RandomGrowth(Rewiring):
    def needs_dense_gradient(self, training: prunebench.Training) -> bool:
        return False

    def after_step(self, training: prunebench.Training) -> None:
        self.rewire(training, training.step + 1)

    def scores(self, training: prunebench.Training) -> dict[str, torch.Tensor]:
        generator = training.generator("grow")
        drawn = {name: torch.rand(mask.shape, generator=generator) for name, mask in training.masks.items()}
        return {name: score.to(training.device) for name, score in drawn.items()}


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [SET]
