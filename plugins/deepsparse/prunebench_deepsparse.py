"""Networks in DeepSparse, which has kernels for unstructured zeros of convolutions and linear layers on CPUs.

DeepSparse is at the end of its life: its makers ended support in June 2025, and version 1.8 is the last that installs.
This is an example of a package with a runtime, and shows what such kernels can give; build nothing new on it.
"""

import os
from pathlib import Path
from typing import Any

import torch

import prunebench
from prunebench.api.errors import PrunebenchError, Unsupported

OPSET, IR_VERSION = 19, 8
"""The newest operators and file format that it reads."""
INSTALL = "its README has the command"


class DeepSparse(prunebench.Runtime):
    """The network in Neural Magic's DeepSparse, on the CPU; it is compiled anew for each batch size. End of life."""

    name = "deepsparse"
    version = 1
    requires = {"onnx": INSTALL, "onnxscript": INSTALL, "deepsparse": INSTALL}
    reading = (
        'import deepsparse\noutputs = deepsparse.compile_model("model.onnx", len(inputs)).run([inputs.numpy()])[0]'
    )

    def deploy(self, network: prunebench.Delivery, folder: Path) -> prunebench.Program:
        (folder / "model.onnx").write_bytes(older(network.onnx()))
        program = self.load(folder, network.threads)
        try:
            program.run(network.example)
        except RuntimeError as error:  # what its compiler raises
            raise Unsupported(f"DeepSparse cannot run this network: {str(error).splitlines()[0][:200]}") from error
        return prunebench.Program(run=program.run, note="DeepSparse, whose development has ended")

    def load(self, folder: Path, threads: int) -> prunebench.Program:
        # It would send statistics of its use elsewhere.
        os.environ.setdefault("NM_DISABLE_ANALYTICS", "1")
        import deepsparse
        import onnx

        path = folder / "model.onnx"
        try:
            names = [given.name for given in onnx.load(path).graph.input]
        except Exception as error:  # of a file that is not there or damaged
            raise PrunebenchError(f"{path} cannot be read: {error}") from None
        engines: dict[int, Any] = {}

        def run(inputs: Any) -> torch.Tensor:
            given = [inputs] if isinstance(inputs, torch.Tensor) else [inputs[name] for name in names]
            batch = len(given[0])
            if batch not in engines:
                engines[batch] = deepsparse.compile_model(str(path), batch_size=batch, num_cores=threads)
            return torch.from_numpy(engines[batch].run([one.contiguous().numpy() for one in given])[0])

        return prunebench.Program(run=run)

    def skips_zeros(self, network: prunebench.Delivery) -> bool:
        return True


def older(content: bytes) -> bytes:
    """An ONNX file with the operators of OPSET, in a format that it reads. Raises Unsupported if that cannot be."""
    import onnx
    from onnx import version_converter

    try:
        model = version_converter.convert_version(onnx.load_from_string(content), OPSET)
    except Exception as error:  # the converter's have no common class
        raise Unsupported(f"the network has operators without an equal in ONNX's opset {OPSET}: {error}") from error
    model.ir_version = min(model.ir_version, IR_VERSION)
    written: bytes = model.SerializeToString(deterministic=True)
    return written


@prunebench.hookimpl
def register_runtimes() -> list[type[prunebench.Runtime]]:
    return [DeepSparse]
