"""Networks in OpenVINO, in float32 and in 8-bit integers."""

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import PrunebenchError, Unsupported

from .onnx_runtime import arrays

INSTALL = "pip install 'prunebench[openvino]'"


class OpenVino(prunebench.Runtime):
    """The network in Intel's OpenVINO, on the CPU; it is compiled anew for each batch size."""

    name = "openvino"
    version = 1
    requires = {"onnx": INSTALL, "onnxscript": INSTALL, "openvino": INSTALL, "nncf": INSTALL}
    reading = 'import openvino\noutputs = openvino.compile_model("model.xml", "CPU")({"input": inputs.numpy()})[0]'

    precision: Annotated[Literal["float32", "int8"], Doc("of weights and activations")] = "float32"
    batches: Annotated[int, Ge(1), Doc("int8: mini-batches of training examples that ranges are measured on")] = 8
    batch_size: Annotated[int, Ge(1), Doc("examples in each")] = 32
    transformer: Annotated[bool, Doc("int8: NNCF's scheme for transformers, less of attention in integers")] = False

    def deploy(self, network: prunebench.Delivery, folder: Path) -> prunebench.Program:
        import openvino

        content = network.onnx()
        try:
            model = openvino.Core().read_model(io.BytesIO(content))
        except Exception as error:  # openvino's have no common class
            raise Unsupported(f"OpenVINO cannot read this network: {_brief(error)}") from error
        if self.precision == "int8":
            model = self._quantized(model, network)
        openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)
        program = self.load(folder, network.threads)
        note = "" if self.precision == "float32" else "INT8 by NNCF, static activations"
        return prunebench.Program(run=program.run, note=note)

    def load(self, folder: Path, threads: int) -> prunebench.Program:
        import openvino

        core, path = openvino.Core(), folder / "model.xml"
        for file in (path, path.with_suffix(".bin")):
            if not file.is_file():
                raise PrunebenchError(f"{file} cannot be read: there is no such file")
        try:
            model = core.read_model(path)
        except Exception as error:  # openvino's have no common class
            raise PrunebenchError(f"{path} cannot be read by OpenVINO: {_brief(error)}") from None
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        names = [given.get_any_name() for given in model.inputs]
        compiled: dict[int, Any] = {}

        def run(inputs: Any) -> torch.Tensor:
            given = arrays(inputs, names)
            batch = len(next(iter(given.values())))
            if batch not in compiled:
                model.reshape({name: openvino.PartialShape([batch, *value.shape[1:]]) for name, value in given.items()})
                compiled[batch] = core.compile_model(model, "CPU", settings)
            return torch.from_numpy(compiled[batch](given)[0])

        return prunebench.Program(run=run)

    def _quantized(self, model: Any, network: prunebench.Delivery) -> Any:
        names = [given.get_any_name() for given in model.inputs]
        batches = [arrays(inputs, names) for inputs in network.calibration(self.batches, self.batch_size)]
        try:
            with _silently():
                os.environ.setdefault("NNCF_CI", "1")  # it would send statistics of its use elsewhere
                import nncf

                kind = nncf.ModelType.TRANSFORMER if self.transformer else None
                return nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches), model_type=kind)
        except Exception as error:  # nncf's have no common class
            raise Unsupported(f"NNCF cannot quantize this network: {_brief(error)}") from error

    def dense(self) -> prunebench.Runtime:
        return OpenVino()

    def int8(self) -> prunebench.Runtime:
        return replace(self, precision="int8")

    @property
    def tolerance(self) -> float:
        return 1e-3 if self.precision == "float32" else 1.0


@contextlib.contextmanager
def _silently() -> Iterator[None]:
    """Without progress bars."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _brief(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


@prunebench.hookimpl
def register_runtimes() -> list[type[prunebench.Runtime]]:
    return [OpenVino]
