"""Fully connected layers on the weights that are left, as compressed sparse rows."""

from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import nn
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import Unsupported

from .torch_runtimes import Torch


class SparseLinear(nn.Module):
    """A linear layer whose weight is a scipy matrix of compressed sparse rows."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        from scipy.sparse import csr_array

        self.matrix: Any = csr_array(layer.weight.detach().numpy())
        self.bias = layer.bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        rows = inputs.reshape(-1, inputs.shape[-1]).numpy()
        # One example is a vector, for which scipy has a faster kernel.
        product = (self.matrix @ rows[0])[None] if len(rows) == 1 else (self.matrix @ rows.T).T
        outputs = torch.from_numpy(product).reshape(*inputs.shape[:-1], -1)
        return outputs if self.bias is None else outputs + self.bias


class Csr(prunebench.Runtime):
    """Linear layers multiply only the weights that are left, by scipy's kernels for sparse matrices; the rest is torch.

    It is compared with the dense network in torch. Convolutions have no such kernel.
    """

    name = "csr"
    version = 1

    zeros: Annotated[float, Interval(gt=0, le=1), Doc("share of zeros from which a layer is made sparse")] = 0.5

    def deploy(self, network: prunebench.Delivery, folder: Path) -> prunebench.Program:
        model = network.model
        found = self._sparse_layers(model)
        if not found:
            raise Unsupported(
                f"no kernel: it has none but for linear layers, and in none of them {self.zeros:.0%} of the weights "
                "are zero"
            )
        for name, layer in found.items():
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, SparseLinear(layer))
        _write(model, folder / "model.safetensors")

        def run(inputs: Any) -> torch.Tensor:
            with torch.inference_mode():
                outputs: torch.Tensor = model(inputs)
                return outputs

        return prunebench.Program(run=run, note=f"sparse rows in {len(found)} linear layers: {', '.join(found)}")

    def _sparse_layers(self, model: nn.Module) -> dict[str, nn.Linear]:
        """By name; not those of torch's attention, which reads their weights itself."""
        return {
            name: layer
            for name, layer in model.named_modules()
            if type(layer) is nn.Linear and name and float((layer.weight == 0).float().mean()) >= self.zeros
        }

    def skips_zeros(self, network: prunebench.Delivery) -> bool:
        return True

    def dense(self) -> prunebench.Runtime:
        return Torch()

    def int8(self) -> prunebench.Runtime | None:
        return Torch().int8()


def _write(model: nn.Module, path: Path) -> None:
    """All tensors of the network; of a sparse matrix its values, columns and row pointers."""
    import safetensors.torch

    tensors = {name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}
    for name, layer in model.named_modules():
        if isinstance(layer, SparseLinear):
            parts = {"values": layer.matrix.data, "columns": layer.matrix.indices, "rows": layer.matrix.indptr}
            tensors |= {f"{name}.weight#{part}": torch.from_numpy(array) for part, array in parts.items()}
    safetensors.torch.save_file(tensors, path)


@prunebench.hookimpl
def register_runtimes() -> list[type[prunebench.Runtime]]:
    return [Csr]
