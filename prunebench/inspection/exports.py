"""Export of a trained network: as a ticket, a state dict or an ONNX file."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

from prunebench.api.components import Input, Interface
from prunebench.api.errors import PrunebenchError, TicketError
from prunebench.api.objectives import Objective
from prunebench.api.stages import Deploy
from prunebench.inspection.tickets import Facts, Ticket, write_file
from prunebench.inspection.trials import Finished
from prunebench.network import cuts
from prunebench.network.cuts import cut_out
from prunebench.network.description import describe
from prunebench.network.modules import copied, loadable, plain
from prunebench.network.onnx_files import as_onnx
from prunebench.records.files import read_bytes
from prunebench.records.results import RUNTIME
from prunebench.suite.reading import trial_to_plain

FORMATS = ("ticket", "state-dict", "onnx")


def ticket_of(finished: Finished) -> Ticket:
    """The masks of a trial, the weights that it finished with, and those that they were trained from.

    Of a network from which channels were removed it is that of the whole network, in which they are zero.

    Raises TicketError for a network with low-rank factors, without which its weights are another network's.
    """
    if finished.end.cut.ranks:
        raise TicketError(
            f"{finished.trial} has low-rank factors beside its weights, for which a ticket has no place: export it "
            "with --format state-dict or onnx, or for a runtime"
        )
    end, origin = finished.end.whole(), finished.origin(len(finished.nodes)).whole()
    layers = describe(finished.trial.task).layers
    interface = finished.trial.task.interface
    plain_interface = Interface.of_images(interface.shape, interface.outputs[-1])
    return Ticket(
        Facts(
            trial=str(finished.trial),
            configuration=trial_to_plain(finished.trial),
            layers=tuple((layer.name, layer.shape) for layer in layers),
            shape=interface.shape,
            classes=interface.outputs[-1],
            interface=None if interface == plain_interface else interface,
            initial_step=origin.step,
            figures=_figures(finished),
            key=finished.last.key,
            protocol=finished.protocol,
            fingerprint=finished.prepared.fingerprint,
            environment=finished.record["environment"],
        ),
        masks={layer.name: end.masks[layer.name] for layer in layers if layer.name in end.masks},
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
    own = {key: value for key, value in figures.items() if not key.startswith(RUNTIME)}
    return {key.removeprefix("test_"): value for key, value in own.items()}


def export(finished: Finished, path: Path, form: str = "ticket") -> None:
    """Write a trial's end to a file.

    Args:
        form: `ticket`; `state-dict`, the pruned network's tensors as safetensors; or `onnx`.

    Raises PrunebenchError when the file cannot be written, or when what ONNX needs is not installed.
    """
    if form == "ticket":
        ticket_of(finished).save(path)
        return
    model = copied(finished.context.loaded(finished.end)).cpu()
    write_file(path, {"state-dict": _state_dict, "onnx": _onnx}[form](model.eval(), finished))


def _state_dict(model: nn.Module, finished: Finished) -> bytes:
    """What `model.load_state_dict(safetensors.torch.load_file(path))` takes, or `load_network` of a cut one."""
    import safetensors.torch

    cut = cuts.to_tensors(finished.end.cut)
    described = metadata(finished) | ({"cut": {name: one.tolist() for name, one in cut.items()}} if cut else {})
    tensors = {name: value.detach().clone().contiguous() for name, value in loadable(model).state_dict().items()}
    # One entry of metadata: safetensors writes several in any order.
    return safetensors.torch.save(tensors, {"prunebench": json.dumps(described, sort_keys=True)})


def load_network(module: nn.Module, path: str | Path) -> nn.Module:
    """Put the weights of an exported state dict into a new network of the same model, which is cut to fit them.

    Args:
        module: the whole network, such as `timm.create_model` or `Model.build` returns it; it is changed.
        path: a file that `prunebench export --format state-dict` wrote. Nothing in it is executed.

    Returns:
        the module, in evaluation mode.

    Raises PrunebenchError for a file that is not such a file, or is one of another network.
    """
    import safetensors
    import safetensors.torch

    try:
        content = read_bytes(Path(path))
        with safetensors.safe_open(Path(path), "pt") as file:
            written = json.loads((file.metadata() or {}).get("prunebench", "{}"))
        cut = {str(name): torch.tensor(value) for name, value in {**written.get("cut", {})}.items()}
        module = cut_out(module, cuts.from_tensors(cut))
        module.load_state_dict(safetensors.torch.load(content))
    except OSError as error:
        raise PrunebenchError(f"{path} cannot be read: {error.strerror or error}") from error
    except PrunebenchError as error:
        raise PrunebenchError(f"{path} does not fit this network: {error}") from None
    except safetensors.SafetensorError as error:
        raise PrunebenchError(f"{path} is not a safetensors file: {error}") from error
    except (ValueError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise PrunebenchError(f"{path} does not fit this network: {reason}") from error
    return module.eval()


def _onnx(model: nn.Module, finished: Finished) -> bytes:
    """A model from `input`, as the network is given it and of any batch size, to `logits`."""
    task = finished.trial.task
    output = "logits" if task.facts.targets == "classes" else "output"
    written = as_onnx(plain(model)[0], task.interface.inputs, output)
    import onnx

    onnx.helper.set_model_props(written, {key: str(value) for key, value in metadata(finished).items()})
    onnx.checker.check_model(written)
    content: bytes = written.SerializeToString(deterministic=True)
    return content


def metadata(finished: Finished) -> dict[str, object]:
    """What is needed to use the network without this package."""
    task = finished.trial.task
    return {
        "trial": str(finished.trial),
        "key": finished.last.key,
        **_inputs(finished),
        **_outputs(finished),
        **({"classes": task.facts.classes} if task.facts.classes else {"outputs": list(task.interface.outputs)}),
        **{name: value for name, value in _figures(finished).items() if name == task.metrics[0].name},
    }


def _inputs(finished: Finished) -> dict[str, object]:
    """What each input is: of the only one, or by name."""
    found = {given.name: _input(given, finished) for given in finished.trial.task.interface.inputs}
    return found.get("", {"inputs": found})


def _outputs(finished: Finished) -> dict[str, object]:
    """What the objective says of the outputs; only one that follows the training targets needs the data for that."""
    objective = finished.trial.task.objective
    if type(objective).fitted is Objective.fitted:
        return dict(objective.exported())
    return dict(finished.context.data.objective.exported())


def _input(given: Input, finished: Finished) -> dict[str, object]:
    shape = {"shape": list(given.shape)}
    if given.vocabulary:
        return {"input": "numbers of tokens", "vocabulary": given.vocabulary, **shape}
    if given.kind == "images":
        dataset = finished.trial.task.dataset
        moments = {"mean": list(dataset.mean), "std": list(dataset.std)}
        return {"input": "(bytes - mean) / std, per channel", **moments, **shape}
    mean, deviation = (one.tolist() for one in finished.context.data.moments(given.name))
    return {"input": "(features - mean) / std, per feature", "mean": mean, "std": deviation, **shape}
