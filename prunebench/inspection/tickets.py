"""Tickets: the masks of a trial with the weights that it began and ended with, in one safetensors file.

    mask/<weight>         bit-packed, as in the store; absent for a layer that is dense
    initial/<name>        parameters and buffers that the last weights were trained from, nothing pruned
    final/<name>          the same at the trial's end
    final/<name>#kept     of a pruned weight: the values that are kept, in their order

What the trial was is JSON in the header. Nothing in the file is ever executed or unpickled; all of it is checked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import nn

from prunebench.api import plugins
from prunebench.api.components import Interface, Model
from prunebench.api.errors import TicketError
from prunebench.api.files import File
from prunebench.api.registry import Registry
from prunebench.api.tasks import Task
from prunebench.data import seeds
from prunebench.data.prepared import prepare
from prunebench.data.task_data import Data
from prunebench.network.modules import build
from prunebench.pruning.masks import Masks, pack, unpack
from prunebench.records import files
from prunebench.records.environment import data_folder
from prunebench.store.entries import Store
from prunebench.suite.annotations import adapter, first_error
from prunebench.suite.lookup import part
from prunebench.suite.nodes import Location, Node, SuiteErrors
from prunebench.suite.reading import task_from_plain
from prunebench.training.metrics import evaluate
from prunebench.training.state import Tensors, under

HEADER = "prunebench.ticket"
"""Names the JSON in the file's metadata."""
MOST_HEADER = 16 * 2**20
"""Bytes that a header may have."""
PICKLES = (b"PK", *(bytes((0x80, protocol)) for protocol in range(2, 6)))
"""How pickles begin, alone or in torch.save's archive; a length of a header could do so too."""
_KEPT = "#kept"

Weights = Literal["final", "initial"]
Size = Annotated[int, Ge(1)]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a ticket says of the trial that it comes from."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    format: Literal[1] = 1
    trial: str
    """task/method/sparsity/seed, as a run prints it."""
    configuration: dict[str, Any]
    """The whole trial as plain values: task, method, parameters, sparsity, seed."""
    layers: tuple[tuple[str, tuple[Size, ...]], ...]
    """Names and shapes of the weights that could be pruned, in their order."""
    shape: tuple[Size, ...]
    """Of one input."""
    classes: Size
    """The number of outputs; of the last dimension, where an output has several."""
    interface: Interface | None = None
    """What the network is given and returns, where that is not images and a vector of outputs."""
    initial_step: Annotated[int, Ge(0)]
    """Where in the recipe the initial weights stood: above 0 after a rewinding."""
    figures: dict[str, float]
    """Of the final weights, as in the trial's row: loss, accuracy, ..."""
    key: str
    """Of the state that the trial ended with."""
    protocol: str
    fingerprint: str
    """Of the data."""
    environment: dict[str, str]
    """Versions and machine that it was made with."""


@dataclass(frozen=True)
class Ticket:
    """Masks, initial weights and final weights; `prunebench.load_ticket` reads one."""

    facts: Facts
    masks: Masks
    """Bool, of each pruned weight's shape: True where it is kept. A layer without a mask is dense."""
    initial: Tensors
    """Parameters and buffers that the last weights were trained from; nothing is pruned in them."""
    final: Tensors
    """Parameters and buffers at the end; zero where they are pruned."""

    @property
    def size(self) -> int:
        """Weights that could be pruned."""
        return sum(prod(shape) for _, shape in self.facts.layers)

    @property
    def kept(self) -> int:
        """Of these how many the masks keep."""
        return sum(
            int(self.masks[name].sum()) if name in self.masks else prod(shape) for name, shape in self.facts.layers
        )

    @property
    def sparsity(self) -> float:
        """Share of the weights that the masks prune."""
        return 1 - self.kept / self.size

    def model(self, weights: Weights = "final", plugin_files: Sequence[str | os.PathLike[str]] = ()) -> nn.Module:
        """The pruned network, on the CPU and in evaluation mode.

        Args:
            weights: `final`; or `initial`, which are masked as the final ones are.
            plugin_files: loose plugins, if the model comes from one.

        Raises:
            PluginError: when no plugin provides the model.
            TicketError: when the model is not that of these weights.
        """
        return self._built(plugins.load(plugins.loose_files(plugin_files)), weights)

    def evaluate(
        self,
        data: Path | None = None,
        store: Path = Path(".prunebench"),
        plugin_files: Sequence[str | os.PathLike[str]] = (),
    ) -> dict[str, float]:
        """Loss and metrics of the final weights, measured anew on the trial's own data: those of its row.

        Args:
            data: the folder of data sets; PRUNEBENCH_DATA by default.
            store: where decoded data is kept.
            plugin_files: loose plugins, if the trial needs some.

        Raises DataError when the data is not there, TicketError when it is other data.
        """
        registry = plugins.load(plugins.loose_files(plugin_files))
        task = self._task(registry)
        prepared = prepare(task.dataset, data_folder(data), Store.open(store).data)
        if prepared.fingerprint != self.facts.fingerprint:
            raise TicketError(f"{task.dataset.name!r} is not the data that {self.facts.trial} was trained on")
        model = self._built(registry, "final")
        if task.recipe.channels_last:
            model = model.to(memory_format=torch.channels_last)
        threads = torch.get_num_threads()
        torch.set_num_threads(_threads(self.facts))
        try:
            figures = evaluate(model, Data(task, prepared, torch.device("cpu")), 0)
        finally:
            torch.set_num_threads(threads)
        return {name.removeprefix("test_"): value for name, value in figures.items()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the ticket as a safetensors file; the same ticket gives the same bytes."""
        write_file(Path(path), to_bytes(self))

    def _task(self, registry: Registry) -> Task:
        try:
            return task_from_plain(self.facts.configuration["task"], registry)
        except (KeyError, TypeError, AttributeError):
            raise TicketError(f"the ticket of {self.facts.trial} does not say what its task was") from None

    def _built(self, registry: Registry, weights: Weights) -> nn.Module:
        values = self.final if weights == "final" else masked(self.initial, self.masks)
        model = _model(self.facts, registry)
        _check_fits(_outline(model, self.facts), values, self.facts)
        with seeds.seeded("ticket"):
            module = build(model, _interface(self.facts))
        _put(module, values)
        return module.eval()


def masked(weights: Tensors, masks: Masks) -> Tensors:
    """The weights, zero wherever masks prune them."""
    return {name: torch.where(masks[name], value, 0.0) if name in masks else value for name, value in weights.items()}


def load_ticket(source: str | os.PathLike[str] | File) -> Ticket:
    """Read a ticket, and check all of it.

    Raises:
        TicketError: for a file that is not a ticket, is damaged, or contradicts itself; pickles are refused unread.
    """
    if isinstance(source, File):
        return _from_bytes(source.read(), source.path)
    path = Path(source)
    try:
        if path.exists() and not path.is_file():
            raise TicketError(f"{path} is not a file")
        return _from_bytes(path.read_bytes(), str(path))
    except OSError as error:
        raise TicketError(f"{path} cannot be read: {error.strerror}") from None


def to_bytes(ticket: Ticket) -> bytes:
    """The ticket as a safetensors file."""
    import safetensors.torch

    tensors = {f"mask/{name}": pack(mask) for name, mask in ticket.masks.items()}
    tensors |= {f"initial/{name}": value for name, value in ticket.initial.items()}
    for name, value in ticket.final.items():
        if name in ticket.masks:
            tensors[f"final/{name}{_KEPT}"] = value[ticket.masks[name]]
        else:
            tensors[f"final/{name}"] = value
    # One entry of metadata: safetensors writes several in any order.
    facts = json.dumps(adapter(Facts).dump_python(ticket.facts, mode="json"), sort_keys=True)
    # Copies: what training left alone may be one tensor at first and in the end, and such are refused.
    return safetensors.torch.save(
        {name: value.clone().contiguous() for name, value in tensors.items()}, {HEADER: facts}
    )


def write_file(path: Path, content: bytes) -> None:
    """Write a file as a whole. Raises TicketError."""
    try:
        files.write_file(path, content)
    except OSError as error:
        raise TicketError(f"cannot write {path}: {error.strerror or error}") from None


def _from_bytes(content: bytes, path: str) -> Ticket:
    try:
        facts = _facts(content)
        return _assembled(facts, _tensors(content))
    except TicketError as error:
        raise TicketError(f"{path}: {error}") from None


def _facts(content: bytes) -> Facts:
    from pydantic import ValidationError

    text = _header(content).get("__metadata__", {})
    text = text.get(HEADER) if isinstance(text, dict) else None
    if not isinstance(text, str):
        raise TicketError("a safetensors file, but no ticket: `prunebench export` writes them")
    try:
        facts: Facts = adapter(Facts).validate_json(text, strict=True)
    except ValidationError as error:
        problem = first_error(error, whole="they")
        raise TicketError(f"the facts in its header are not those of a ticket: {problem}") from None
    return facts


def _header(content: bytes) -> dict[str, Any]:
    """The JSON before the tensors, of a length that is checked first."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 10 or length > len(content) - 8:
        if content[:2] in PICKLES:
            raise TicketError("a pickle (as torch.save writes them), and no ticket; pickles are never loaded")
        raise TicketError("not a safetensors file, or the end of one is missing")
    if length > MOST_HEADER:
        raise TicketError(f"a header of {length:,} bytes, and no ticket: {MOST_HEADER:,} are the most")
    try:
        header = json.loads(content[8 : 8 + length])
    except (ValueError, RecursionError):
        raise TicketError("not a safetensors file: its header is not JSON") from None
    return header if isinstance(header, dict) else {}


def _tensors(content: bytes) -> Tensors:
    import safetensors
    import safetensors.torch

    try:
        loaded = safetensors.torch.load(content)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise TicketError(f"damaged: {error}") from None
    # Copies: what lies at odd addresses, vectorized code may add up otherwise.
    return {name: value.clone() for name, value in loaded.items()}


def _assembled(facts: Facts, tensors: Tensors) -> Ticket:
    """The ticket of checked parts; raises TicketError for parts that do not fit each other."""
    initial, layers = under("initial/", tensors), dict(facts.layers)
    if not layers or len(layers) < len(facts.layers):
        raise TicketError("its layers have no names of their own")
    for name, shape in layers.items():
        if name not in initial or tuple(initial[name].shape) != shape:
            raise TicketError(f"there are no initial weights of {name!r} in shape {shape}")
    masks = {name: _mask(name, bits, layers) for name, bits in under("mask/", tensors).items()}
    final = dict(_unpacked(name, value, masks, initial) for name, value in under("final/", tensors).items())
    if final.keys() != initial.keys():
        name = min(final.keys() ^ initial.keys())
        raise TicketError(f"{name!r} is in only one of the initial and the final weights")
    if strange := [name for name in tensors if name.partition("/")[0] not in ("mask", "initial", "final")]:
        raise TicketError(f"{min(strange)!r} is not part of a ticket")
    return Ticket(facts, masks, initial, final)


def _mask(name: str, bits: torch.Tensor, layers: Mapping[str, tuple[int, ...]]) -> torch.Tensor:
    if name not in layers:
        raise TicketError(f"there is a mask for {name!r}, which is none of its layers")
    shape = layers[name]
    if bits.dtype != torch.uint8 or tuple(bits.shape) != (-(-prod(shape) // 8),):
        raise TicketError(f"the mask of {name!r} has not one bit for each weight of shape {shape}")
    return unpack(bits, shape)


def _unpacked(name: str, value: torch.Tensor, masks: Masks, initial: Tensors) -> tuple[str, torch.Tensor]:
    """A final tensor by its name, of the shape and type that the initial one has."""
    packed, name = name.endswith(_KEPT), name.removesuffix(_KEPT)
    first, mask = initial.get(name), masks.get(name)
    if first is None or value.dtype != first.dtype or packed != (mask is not None):
        raise TicketError(f"the final weights of {name!r} are not of the kind that the initial ones are")
    if mask is None:
        if value.shape != first.shape:
            raise TicketError(f"{name!r} is {tuple(first.shape)} at first and {tuple(value.shape)} in the end")
        return name, value
    if tuple(value.shape) != (int(mask.sum()),):
        raise TicketError(f"the final weights of {name!r} are {value.numel()}, and its mask keeps {int(mask.sum())}")
    whole = torch.zeros(mask.shape, dtype=value.dtype)
    whole[mask] = value
    return name, whole


def _model(facts: Facts, registry: Registry) -> Model:
    """The model that the configuration names."""
    errors = SuiteErrors()
    try:
        node = Node.of(facts.configuration["task"]["model"], Location(0, 0, 0, f"ticket of {facts.trial}"))
        model = part(Model, "model", node, registry, errors)
    except (KeyError, TypeError, AttributeError):
        raise TicketError(f"the ticket of {facts.trial} does not say what its model was") from None
    errors.report()
    assert model is not None
    return model


def _interface(facts: Facts) -> Interface:
    return facts.interface or Interface.of_images(facts.shape, facts.classes)


def _outline(model: Model, facts: Facts) -> nn.Module:
    """The model without memory for its weights, as a file may name any size."""
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            return build(model, _interface(facts))
    except Exception as error:  # of a plugin's code with parameters from the file
        raise TicketError(f"the model of {facts.trial} cannot be built: {type(error).__name__}: {error}") from None


def _check_fits(module: nn.Module, values: Tensors, facts: Facts) -> None:
    expected = dict(_named(module))
    wrong = [name for name in expected.keys() | values.keys() if not _alike(expected.get(name), values.get(name))]
    if wrong:
        listed = ", ".join(sorted(wrong)[:5]) + (", ..." if len(wrong) > 5 else "")
        raise TicketError(
            f"the ticket of {facts.trial} does not fit the model that it names, which may have changed since: {listed}"
        )


def _alike(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    return one is not None and other is not None and one.shape == other.shape and one.dtype == other.dtype


@torch.no_grad()
def _put(module: nn.Module, values: Tensors) -> None:
    for name, tensor in _named(module):
        tensor.copy_(values[name])


def _named(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _threads(facts: Facts) -> int:
    """Those that the row was measured with, as the last bits depend on them."""
    recorded = facts.environment.get("threads", "")
    return int(recorded) if recorded.isdecimal() and 0 < int(recorded) <= 1024 else 1
