"""A runtime: the network in bfloat16, with a file of half the size.

Try it with `prunebench run suite.yaml --plugin runtime.py`.
"""

import safetensors.torch
import torch

import prunebench


class BFloat16(prunebench.Runtime):
    """The network in torch with weights and activations in bfloat16."""

    name = "bfloat16"

    def deploy(self, network, folder):
        model = network.model.to(torch.bfloat16)
        safetensors.torch.save_file(dict(model.state_dict()), folder / "model.safetensors")
        model.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"))

        def run(inputs):
            with torch.inference_mode():
                return model(inputs.to(torch.bfloat16)).float()

        return prunebench.Program(run=run, note="bfloat16 weights and activations")

    @property
    def tolerance(self):
        return 0.1  # it has 8 bits for the digits of a number


@prunebench.hookimpl
def register_runtimes():
    return [BFloat16]
