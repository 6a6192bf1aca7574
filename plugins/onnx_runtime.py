"""Networks in ONNX Runtime, in float32 and in 8-bit integers."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import PrunebenchError, Unsupported

INSTALL = "pip install 'prunebench[onnx]'"


class OnnxRuntime(prunebench.Runtime):
    """The network as an ONNX file in Microsoft's ONNX Runtime, on the CPU."""

    name = "onnxruntime"
    version = 1
    requires = {"onnx": INSTALL, "onnxscript": INSTALL, "onnxruntime": INSTALL}
    reading = (
        "import onnxruntime\n"
        'outputs = onnxruntime.InferenceSession("model.onnx").run(None, {"input": inputs.numpy()})[0]'
    )

    precision: Annotated[Literal["float32", "int8"], Doc("of weights and activations")] = "float32"
    activations: Annotated[
        Literal["static", "dynamic"],
        Doc("int8: ranges measured on training examples; or found in each pass, for linear layers only"),
    ] = "static"
    batches: Annotated[int, Ge(1), Doc("int8, static: mini-batches that they are measured on")] = 8
    batch_size: Annotated[int, Ge(1), Doc("examples in each")] = 32

    def deploy(self, network: prunebench.Delivery, folder: Path) -> prunebench.Program:
        path = folder / "model.onnx"
        path.write_bytes(network.onnx())
        if self.precision == "int8":
            self._quantize(path, network)
        program = self.load(folder, network.threads)
        note = "" if self.precision == "float32" else f"INT8, {self.activations} activations, a scale for each output"
        return prunebench.Program(run=program.run, note=note)

    def load(self, folder: Path, threads: int) -> prunebench.Program:
        import onnxruntime

        path, options = folder / "model.onnx", onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
        try:
            content = path.read_bytes()
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except OSError as error:
            raise PrunebenchError(f"{path} cannot be read: {error.strerror}") from None
        except Exception as error:  # onnxruntime's have no common class
            raise PrunebenchError(f"{path} cannot be read by ONNX Runtime: {_brief(error)}") from None
        names = [given.name for given in session.get_inputs()]

        def run(inputs: Any) -> torch.Tensor:
            return torch.from_numpy(session.run(None, arrays(inputs, names))[0])

        return prunebench.Program(run=run)

    def _quantize(self, path: Path, network: prunebench.Delivery) -> None:
        """Replace the file by one in 8-bit integers."""
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        folded = path.with_name("folded.onnx")
        try:
            quant_pre_process(str(path), str(folded), skip_symbolic_shape=True)
            if self.activations == "dynamic":
                quantize_dynamic(folded, path, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
            else:
                # reduce_range: weights of 7 bits, as sums of two products overflow 16 bits on processors without VNNI.
                reader = Examples(network.calibration(self.batches, self.batch_size))
                quantize_static(
                    folded, path, reader, QuantFormat.QDQ, per_channel=True, reduce_range=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                )  # fmt: skip
        except Exception as error:  # onnxruntime's have no common class
            raise Unsupported(f"ONNX Runtime cannot quantize this network: {_brief(error)}") from error
        finally:
            folded.unlink(missing_ok=True)

    def dense(self) -> prunebench.Runtime:
        return OnnxRuntime()

    def int8(self) -> prunebench.Runtime:
        return replace(self, precision="int8")

    @property
    def tolerance(self) -> float:
        return 1e-3 if self.precision == "float32" else 1.0


class Examples:
    """Mini-batches as ONNX Runtime reads them: `get_next` until it returns None."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else arrays(batch, ["input"])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.get_next, None)


def arrays(inputs: Any, names: list[str]) -> dict[str, Any]:
    """Inputs as arrays by name; a single one has the first of the names."""
    if isinstance(inputs, torch.Tensor):
        return {names[0]: inputs.contiguous().numpy()}
    return {name: value.contiguous().numpy() for name, value in inputs.items()}


def _brief(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


@prunebench.hookimpl
def register_runtimes() -> list[type[prunebench.Runtime]]:
    return [OnnxRuntime]
