"""Networks in torch itself: as modules, as exported programs, and in 8-bit integers."""

import json
import re
import warnings
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from torch import nn
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import PrunebenchError, Unsupported

from .int8 import dynamic_int8, engine_of_int8, has_convolutions, static_int8

PARTS = re.compile(
    r"[^/]+/(archive_format|archive_version|byteorder|\.data/[a-z_]+|models/[^/]+\.json|"
    r"data/weights/(weight_\d+|[^/]+_weights_config\.json)|data/constants/(tensor_\d+|[^/]+_constants_config\.json)|"
    r"data/sample_inputs/[^/]+\.pt)"
)
"""The parts of a program that are numbers and text; others hold pickles."""


class Torch(prunebench.Runtime):
    """The network as a module of torch in float32, with a state dict as its file."""

    name = "torch"
    version = 1
    reading = (
        "import safetensors.torch\n"
        'model.load_state_dict(safetensors.torch.load_file("model.safetensors"))  # a network of the same class'
    )

    def deploy(self, network: prunebench.Delivery, folder: Path) -> prunebench.Program:
        import safetensors.torch

        model, path = network.model, folder / "model.safetensors"
        tensors = {name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}
        safetensors.torch.save_file(tensors, path)
        model.load_state_dict(safetensors.torch.load_file(path))
        return prunebench.Program(run=_without_gradients(model))

    def int8(self) -> prunebench.Runtime:
        return TorchInt8()


class TorchExport(prunebench.Runtime):
    """The network as a program of torch.export, which needs no code of the model.

    Its operations are called one by one, which takes longer than in a module where the network is small.
    """

    name = "torch-export"
    version = 1
    reading = 'import torch\noutputs = torch.export.load("model.pt2").module()(inputs)'

    def deploy(self, network: prunebench.Delivery, folder: Path) -> prunebench.Program:
        example, batch = network.example, torch.export.Dim("batch")
        shapes: Any = {0: batch} if isinstance(example, torch.Tensor) else {name: {0: batch} for name in example}
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                exported = torch.export.export(network.model, (example,), dynamic_shapes=(shapes,))
                torch.export.save(exported, folder / "model.pt2")
        except Exception as error:  # of torch's tracer, which has many
            raise Unsupported(f"torch.export cannot trace this network: {_brief(error)}") from error
        return self.load(folder, network.threads)

    def load(self, folder: Path, threads: int) -> prunebench.Program:
        path = folder / "model.pt2"
        content = _content(path)
        _check_program(path, content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = torch.export.load(BytesIO(content)).module()
        except Exception as error:  # of a damaged file
            raise PrunebenchError(f"{path} cannot be read as a program of torch.export: {_brief(error)}") from error
        return prunebench.Program(run=_without_gradients(module))

    def int8(self) -> prunebench.Runtime:
        return TorchInt8()


class TorchInt8(prunebench.Runtime):
    """The network in 8-bit integers on torch's own CPU kernels, as the method int8 makes it; shipped as TorchScript."""

    name = "torch-int8"
    version = 1
    reading = 'import torch\noutputs = torch.jit.load("model.pt")(inputs)'

    activations: Annotated[Literal["static", "dynamic"], Doc("how the ranges of activations are found")] = "static"
    batches: Annotated[int, Ge(1), Doc("static: mini-batches of training examples that they are measured on")] = 8
    batch_size: Annotated[int, Ge(1), Doc("examples in each")] = 128

    def deploy(self, network: prunebench.Delivery, folder: Path) -> prunebench.Program:
        if not isinstance(network.example, torch.Tensor):
            raise Unsupported("torch's INT8 needs a network with one input")
        try:
            quantized = self._quantized(network)
        except PrunebenchError as error:
            raise Unsupported(str(error)) from error
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")  # TorchScript is deprecated, and the only file that INT8 layers fit in
                torch.jit.save(torch.jit.trace(quantized, network.example), folder / "model.pt")  # type: ignore[no-untyped-call]
        except Exception as error:  # of torch's tracer
            raise Unsupported(f"TorchScript cannot trace this network in INT8: {_brief(error)}") from error
        program = self.load(folder, network.threads)
        _check_any_batch(program, network.example)
        note = f"INT8 of {engine_of_int8()}, {self.activations} activations"
        if self.activations == "dynamic" and has_convolutions(quantized):
            note += "; convolutions stay float32"
        return prunebench.Program(run=program.run, note=note)

    def _quantized(self, network: prunebench.Delivery) -> nn.Module:
        if self.activations == "dynamic":
            return dynamic_int8(network.model)
        return static_int8(network.model, list(network.calibration(self.batches, self.batch_size)))

    def load(self, folder: Path, threads: int) -> prunebench.Program:
        path = folder / "model.pt"
        content = _content(path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = torch.jit.load(BytesIO(content), map_location="cpu")  # type: ignore[no-untyped-call]
        except Exception as error:  # of a damaged file
            raise PrunebenchError(f"{path} cannot be read as TorchScript: {_brief(error)}") from error
        return prunebench.Program(run=_without_gradients(module))

    def dense(self) -> prunebench.Runtime:
        return Torch()

    def int8(self) -> prunebench.Runtime:
        return self

    @property
    def tolerance(self) -> float:
        return 1.0

    @property
    def title(self) -> str:
        return self.name if self.activations == "static" else f"{self.name}-dynamic"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PrunebenchError(f"{path} cannot be read: {error.strerror}") from None


def _check_program(path: Path, content: bytes) -> None:
    """Raise PrunebenchError for a program with parts that torch.export.load would unpickle, which can run any code."""
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            names = archive.namelist()
            strange = [name for name in names if not PARTS.fullmatch(name)]
            configs = [json.loads(archive.read(name)) for name in names if name.endswith("_config.json")]
            samples = [archive.read(name) for name in names if name.endswith(".pt")]
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
        raise PrunebenchError(f"{path} is damaged, or not a program of torch.export: {error}") from None
    pickled = [name for config in configs for name in _pickled(config)]
    if strange or pickled:
        raise PrunebenchError(f"{path} has parts that may run code when they are read: {(strange + pickled)[0]!r}")
    for sample in samples:
        try:
            torch.load(BytesIO(sample), weights_only=True)
        except Exception:  # pickle's own errors have no common class
            raise PrunebenchError(f"{path} has example inputs that are not only numbers") from None


def _pickled(config: Any) -> list[str]:
    entries = config.get("config") if isinstance(config, dict) else None
    if not isinstance(entries, dict):
        return ["a list of its parts that cannot be read"]
    return [str(name) for name, entry in entries.items() if not isinstance(entry, dict) or entry.get("use_pickle")]


def _check_any_batch(program: prunebench.Program, example: torch.Tensor) -> None:
    """Raise Unsupported for a program that has kept the batch size that it was traced with."""
    inputs = torch.cat([example, example[:1]])
    try:
        fits = program.run(inputs).shape[0] == len(inputs)
    except Exception:  # of a layer that was given other shapes
        fits = False
    if not fits:
        raise Unsupported("the traced INT8 network is of one batch size")


def _without_gradients(module: Any) -> Any:
    def run(inputs: Any) -> torch.Tensor:
        with torch.inference_mode():
            outputs: torch.Tensor = module(inputs)
            return outputs

    return run


def _brief(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


@prunebench.hookimpl
def register_runtimes() -> list[type[prunebench.Runtime]]:
    return [Torch, TorchExport, TorchInt8]
