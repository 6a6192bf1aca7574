"""2:4 sparsity on the sparse tensor cores of NVIDIA GPUs."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

import prunebench
from prunebench.api.errors import Unsupported

AMPERE = (8, 0)
"""The compute capability of the first GPUs with kernels for it."""
NO_GPU = "no kernel: 2:4 sparsity has them on NVIDIA GPUs of the Ampere generation and later"


class HalfPrecision(prunebench.Runtime):
    """The network in float16 on a GPU, beside which one with 2:4 sparsity is timed."""

    name = "torch-half"
    version = 1

    def deploy(self, network: prunebench.Delivery, folder: Path) -> prunebench.Program:
        check_gpu()
        model = network.model.half().cuda()
        _write(model, folder / "model.safetensors")
        return prunebench.Program(run=_run(model), device="cuda", half=True)

    @property
    def tolerance(self) -> float:
        return 3e-2


class SemiStructured(prunebench.Runtime):
    """Linear layers with 2:4 sparsity in float16 on the sparse tensor cores of NVIDIA GPUs; other layers are dense.

    It is compared with the dense network in float16 on the same GPU.
    """

    name = "torch-2to4"
    version = 1
    reference = "Mishra et al. 2021, arXiv:2104.08378; torch.sparse.to_sparse_semi_structured"

    def deploy(self, network: prunebench.Delivery, folder: Path) -> prunebench.Program:
        check_gpu()
        from torch.sparse import to_sparse_semi_structured

        model = network.model.half().cuda()
        fitting = [name for name, layer in model.named_modules() if type(layer) is nn.Linear and is_2to4(layer.weight)]
        done = []
        for name in fitting:
            layer: Any = model.get_submodule(name)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # it is a prototype
                    layer.weight = nn.Parameter(to_sparse_semi_structured(layer.weight), requires_grad=False)
            except (RuntimeError, ValueError, NotImplementedError):  # sizes that its kernels do not have
                continue
            done.append(name)
        if not done:
            raise Unsupported(
                "no kernel: it has none but for large linear layers with 2:4 sparsity of consecutive inputs, and there "
                "is none"
            )
        _write(model, folder / "model.safetensors")
        return prunebench.Program(run=_run(model), device="cuda", half=True, note=f"2:4 kernels in {', '.join(done)}")

    def skips_zeros(self, network: prunebench.Delivery) -> bool:
        return True

    def dense(self) -> prunebench.Runtime:
        return HalfPrecision()

    @property
    def tolerance(self) -> float:
        return 3e-2


def check_gpu() -> None:
    """Raise Unsupported without a GPU that has kernels for 2:4 sparsity."""
    if not torch.cuda.is_available() or torch.version.hip or torch.cuda.get_device_capability() < AMPERE:
        raise Unsupported(NO_GPU)


def is_2to4(weight: torch.Tensor) -> bool:
    """Whether at most two of every four consecutive inputs of each output have a weight."""
    if weight.shape[1] % 4:
        return False
    return bool((weight.detach().reshape(weight.shape[0], -1, 4) != 0).sum(2).le(2).all())


def _run(model: nn.Module) -> Any:
    def run(inputs: Any) -> torch.Tensor:
        with torch.inference_mode():
            outputs: torch.Tensor = model(inputs)
            return outputs

    return run


def _write(model: nn.Module, path: Path) -> None:
    """All tensors; of a sparse weight its kept values and where they are."""
    import safetensors.torch

    tensors: dict[str, torch.Tensor] = {}
    for name, value in model.state_dict().items():
        parts = {part: getattr(value, part, None) for part in ("packed", "meta")}
        if isinstance(parts["packed"], torch.Tensor):
            found = {f"{name}#{part}": tensor for part, tensor in parts.items() if isinstance(tensor, torch.Tensor)}
        else:
            found = {name: value}
        tensors |= {key: tensor.detach().cpu().clone().contiguous() for key, tensor in found.items()}
    safetensors.torch.save_file(tensors, path)


@prunebench.hookimpl
def register_runtimes() -> list[type[prunebench.Runtime]]:
    return [SemiStructured]
