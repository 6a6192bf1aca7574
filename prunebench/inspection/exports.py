"""Export of a trained network: as a ticket, a state dict or an ONNX file."""

from __future__ import annotations

import importlib.util
import json
import tempfile
import warnings
from pathlib import Path

import torch
from torch import nn

from prunebench.api.errors import PrunebenchError
from prunebench.api.stages import Deploy
from prunebench.inspection.tickets import Facts, Ticket, write_file
from prunebench.inspection.trials import Finished
from prunebench.network.description import describe
from prunebench.network.modules import loadable, plain
from prunebench.suite.reading import trial_to_plain
from prunebench.training.state import load
from prunebench.training.trial_context import fresh_model

FORMATS = ("ticket", "state-dict", "onnx")


def ticket_of(finished: Finished) -> Ticket:
    """The masks of a trial, the weights that it finished with, and those that they were trained from."""
    end, origin = finished.end, finished.origin(len(finished.nodes))
    facts = finished.trial.task.facts
    return Ticket(
        Facts(
            trial=str(finished.trial),
            configuration=trial_to_plain(finished.trial),
            layers=tuple((layer.name, layer.shape) for layer in describe(finished.trial.task).layers),
            shape=facts.shape,
            classes=facts.classes,
            initial_step=origin.step,
            figures=_figures(finished),
            key=finished.last.key,
            protocol=finished.protocol,
            fingerprint=finished.prepared.fingerprint,
            environment=finished.record["environment"],
        ),
        masks=dict(end.masks),
        initial=origin.parameters | origin.buffers,
        final=end.parameters | end.buffers,
    )


def _figures(finished: Finished) -> dict[str, float]:
    """Of the network itself: those of one that was delivered are not its own."""
    figures = finished.record["figures"]
    if isinstance(finished.last.stage, Deploy):
        history = finished.record["state"]["history"]
        same = bool(history) and history[-1]["step"] == finished.end.step
        figures = {key: value for key, value in history[-1].items() if key.startswith("test_")} if same else {}
    return {key.removeprefix("test_"): value for key, value in figures.items()}


def export(finished: Finished, path: Path, form: str = "ticket") -> None:
    """Write a trial's end to a file.

    Args:
        form: `ticket`; `state-dict`, the pruned network's tensors as safetensors; or `onnx`.

    Raises PrunebenchError when the file cannot be written, or when what ONNX needs is not installed.
    """
    if form == "ticket":
        ticket_of(finished).save(path)
        return
    model = fresh_model(finished.trial, "scratch")
    load(model, finished.end)
    write_file(path, {"state-dict": _state_dict, "onnx": _onnx}[form](model.eval(), finished))


def _state_dict(model: nn.Module, finished: Finished) -> bytes:
    """What `model.load_state_dict(safetensors.torch.load_file(path))` takes."""
    import safetensors.torch

    tensors = {name: value.detach().clone().contiguous() for name, value in loadable(model).state_dict().items()}
    # One entry of metadata: safetensors writes several in any order.
    return safetensors.torch.save(tensors, {"prunebench": json.dumps(_metadata(finished), sort_keys=True)})


def _onnx(model: nn.Module, finished: Finished) -> bytes:
    """A model from `input`, normalized and of any batch size, to `logits`."""
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise PrunebenchError(f"ONNX needs {' and '.join(missing)}: pip install 'prunebench[onnx]'")
    import onnx

    example = torch.zeros(2, *finished.trial.task.facts.shape)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about its own parts
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            plain(model)[0],
            (example,),
            path,
            input_names=["input"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
            dynamo=True,
        )
        written = onnx.load(path)
    onnx.helper.set_model_props(written, {key: str(value) for key, value in _metadata(finished).items()})
    onnx.checker.check_model(written)
    content: bytes = written.SerializeToString(deterministic=True)
    return content


def _metadata(finished: Finished) -> dict[str, object]:
    """What is needed to use the network without this package."""
    task = finished.trial.task
    return {
        "trial": str(finished.trial),
        "key": finished.last.key,
        "input": "(bytes - mean) / std, per channel",
        "mean": list(task.dataset.mean),
        "std": list(task.dataset.std),
        "shape": list(task.facts.shape),
        "classes": task.facts.classes,
        **{name: value for name, value in _figures(finished).items() if name == "accuracy"},
    }
