"""A network as an ONNX file."""

from __future__ import annotations

import importlib.util
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prunebench.api.components import Input
from prunebench.api.errors import PrunebenchError
from prunebench.data.inputs import constant_inputs


def as_onnx(model: nn.Module, inputs: Sequence[Input], output: str = "output") -> Any:
    """An `onnx.ModelProto` of a network, of any batch size; a single input is called `input`.

    Args:
        model: in evaluation mode, on the CPU, without parametrizations.
        output: the name of the output.

    Raises:
        PrunebenchError: if the packages that this needs are not installed.
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise PrunebenchError(f"ONNX needs {' and '.join(missing)}: pip install 'prunebench[onnx]'")
    import onnx

    example, batch = constant_inputs(inputs, 2, 0.0), torch.export.Dim("batch")
    several = not isinstance(example, torch.Tensor)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about its own parts
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            model,
            (example, {}),  # a dict at the end would be taken for keyword arguments
            path,
            input_names=list(example) if several else ["input"],
            output_names=[output],
            dynamic_shapes=({name: {0: batch} for name in example} if several else {0: batch},),
            external_data=False,
            verbose=False,
            dynamo=True,
        )
        return onnx.load(path)
