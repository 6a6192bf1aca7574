"""RigL: rigging the lottery."""

import torch

import prunebench

from .drop_grow import DropGrow, Rewiring, dense_gradient


class RigL(DropGrow):
    """Every so often drop the smallest weights of each layer, and grow as many where the gradient is largest.

    That is the dense gradient of one mini-batch, on which no optimizer step is made.
    """

    name = "rigl"
    version = 1
    reference = "Evci et al. 2020, arXiv:1911.11134"
    presets = {
        "paper": prunebench.Preset("Evci et al. 2020: ERK; 30 %, every 100 steps until 75 % of training, cosine"),
        "paper-uniform": prunebench.Preset(
            "Evci et al. 2020: the same density in every layer but the first, which is dense",
            {"allocation": "uniform-first-dense"},
        ),
    }

    def updater(self, density: float | None) -> prunebench.Updater:
        return _GradientGrowth(self)


class _GradientGrowth(Rewiring):
    def needs_dense_gradient(self, training: prunebench.Training) -> bool:
        return self.rule.share(training, training.step) > 0

    def after_backward(self, training: prunebench.Training) -> bool:
        return self.rewire(training, training.step)

    def scores(self, training: prunebench.Training) -> dict[str, torch.Tensor]:
        return {name: dense_gradient(weight).abs() for name, weight in training.weights.items()}

    def flops(self, training: prunebench.Training) -> prunebench.Flops:
        # An update computes the gradient of all weights. The paper adds it to `interval` ordinary steps, hence its
        # (3 f_S dT + 2 f_S + f_D) / (dT + 1); here it is one of the `interval` steps, and there is none after the end.
        if self.rule.share(training, training.step):
            return training.dense_gradient_flops
        return 3 * training.sparse_flops


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [RigL]
