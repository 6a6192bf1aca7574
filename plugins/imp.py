"""Iterative magnitude pruning: lottery tickets, and weight rewinding."""

from collections.abc import Iterator
from typing import Annotated

from typing_extensions import Doc

import prunebench

from .ladder import Ladder


class IMP(Ladder):
    """Train, prune the smallest weights, go back to step `rewind_to`, train again; and so on down to the target.

    Every level removes the share `rate` of what is left; the last one is cut to the exact target, so that all
    sparsities share one trajectory.
    """

    name = "imp"
    version = 1
    reference = "Frankle & Carbin 2019, arXiv:1803.03635; rewinding: Frankle et al. 2020, arXiv:1912.05671"
    presets = {
        "lenet": prunebench.Preset(
            "Frankle & Carbin 2019, LeNet-300-100: 20 % of each layer a level, 10 % of the output layer",
            {"scope": "layerwise", "output_rate": 0.1},
        ),
        "conv-2": prunebench.Preset(
            "Frankle & Carbin 2019, Conv-2: convolutions 10 %, linear layers 20 %, the output layer 10 % a level",
            {"scope": "layerwise", "conv_rate": 0.1, "output_rate": 0.1},
        ),
        "conv-4": prunebench.Preset(
            "Frankle & Carbin 2019, Conv-4: convolutions 10 %, linear layers 20 %, the output layer 10 % a level",
            {"scope": "layerwise", "conv_rate": 0.1, "output_rate": 0.1},
        ),
        "conv-6": prunebench.Preset(
            "Frankle & Carbin 2019, Conv-6: convolutions 15 %, linear layers 20 %, the output layer 10 % a level",
            {"scope": "layerwise", "conv_rate": 0.15, "output_rate": 0.1},
        ),
        "rewinding": prunebench.Preset(
            "Frankle et al. 2020: ResNet-20 rewound to step 500 to 2,000 of 63,000; here 1,000", {"rewind_to": "1.6%"}
        ),
        "weight-rewinding": prunebench.Preset(
            "Renda et al. 2020, arXiv:2003.02389: ResNets rewound to step 4,701 of 71,108", {"rewind_to": "6.6%"}
        ),
        "open-lth": prunebench.Preset(
            "github.com/facebookresearch/open_lth: weights and BatchNorm are restored, momentum is not",
            {"restore_optimizer": False},
        ),
    }

    rewind_to: Annotated[prunebench.Time, Doc("what the surviving weights go back to; 0 is their initialization")] = 0
    restore_optimizer: Annotated[
        bool, Doc("rewind the optimizer's state too (Renda et al. 2020); at step 0 there is none yet")
    ] = True

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        return self.rounds(trial, prunebench.Rewind(to=self.rewind_to, optimizer=self.restore_optimizer))


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [IMP]
