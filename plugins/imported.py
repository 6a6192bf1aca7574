"""Imported: masks that were made elsewhere, with or without their weights."""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Len
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import Unreachable, WeightsError
from prunebench.api.files import check_patterns
from prunebench.api.layers import Layer
from prunebench.api.times import Moment

SHOWN = 20
"""Problems of one kind that are listed."""
TOLERANCE = 0.005
"""How far the number of kept weights may be from what a sparsity asks for, as a share: masks are made for another."""
SUFFIX = "_mask"
"""Ends the names of masks in a file of torch.nn.utils.prune."""

Masks = Mapping[str, torch.Tensor]


class Imported(prunebench.Method):
    """Prune by masks from a file, whatever made them, then train.

    `masks` is a safetensors file, or what torch.save wrote of a state dict: of masks by the names of the weights, 1
    for what is kept and 0 for what is not; of a network that torch.nn.utils.prune pruned (`NAME_mask`); or, with
    `zeros: true`, of weights that are zero where they are pruned. The sparsity is that of the masks. Rows are marked as
    imported, with their `source`.
    """

    name = "imported"
    version = 1
    reference = "the `source` of the masks"
    exempt = {
        "seeds": "the masks are those of the file, whatever the seed",
        "excluded": "masks fit the tasks that may prune the layers that they prune, and are an error in all others",
        "inversion": "the scores are masks, which rank neither what they keep nor what they prune",
    }

    masks: Annotated[prunebench.File, Doc("file of the masks; keys contain its content, not its path")]
    source: Annotated[str, Len(1, 500), Doc("where the masks were made, such as a URL and a commit")]
    weights: Annotated[
        prunebench.File | prunebench.Weights | None,
        Doc("weights under the masks: a path, or a mapping as `weights` of a task; by default those of the task"),
    ] = None
    zeros: Annotated[bool, Doc("`masks` is a file of weights, whose zeros are what is pruned")] = False
    prefix: Annotated[str, Doc("beginning of the names in `masks`, such as `model.`; other names are not read")] = ""
    dense: Annotated[tuple[str, ...], Doc("regular expressions of weights that have no mask, and stay dense")] = ()
    structure: Annotated[
        prunebench.Structure | None,
        Doc("N:M pattern that the masks are checked for, such as {n: 2, m: 4}; layers without a pruned weight pass"),
    ] = None
    train: Annotated[
        Moment, Doc("how long the network is trained under the masks: end, the whole recipe; 10ep; or 0, not at all")
    ] = "end"

    def __post_init__(self) -> None:
        check_patterns(self.dense)

    @property
    def imported_from(self) -> str:
        return self.source

    def scores(self, scoring: prunebench.Scoring) -> dict[str, torch.Tensor]:
        return {name: 2 * mask.float() - 1 for name, mask in self._masks(scoring.layers).items()}

    def stages(self, trial: prunebench.Trial) -> Iterator[prunebench.Stage]:
        masks = self._masks(trial.network.layers)
        yield prunebench.Initialize(weights=self.weights)
        yield prunebench.Prune(by=self, density=_density(masks, trial))
        yield prunebench.Train(until=self.train)

    def _masks(self, layers: tuple[Layer, ...]) -> Masks:
        return _read(self.masks, self.prefix, self.zeros, self.dense, self.structure, layers)


@functools.lru_cache(maxsize=4)
def _read(
    file: prunebench.File,
    prefix: str,
    zeros: bool,
    dense: tuple[str, ...],
    structure: prunebench.Structure | None,
    layers: tuple[Layer, ...],
) -> Masks:
    """The mask of each layer. Raises WeightsError, with everything that is wrong with the file."""
    given = {
        name.removeprefix(prefix): value
        for name, value in prunebench.read_weights(file).items()
        if name.startswith(prefix)
    }
    named = _by_layer(given, layers)
    unmasked = [layer.name for layer in layers if layer.name not in named and _any(dense, layer.name)]
    there = [layer for layer in layers if layer.name in named]
    reasons = {layer.name: _problem(given[named[layer.name]], layer, zeros) for layer in there}
    problems = {
        "without a mask in it (`dense` names weights that stay dense)": [
            layer.name for layer in layers if layer.name not in named and layer.name not in unmasked
        ],
        "masks in it for what cannot be pruned here": [] if zeros else _strangers(given, named),
        "not usable as masks": [f"{name} ({reason})" for name, reason in reasons.items() if reason],
        "patterns of `dense` that match no weight without a mask": [
            pattern for pattern in dense if not any(re.search(pattern, name) for name in unmasked)
        ],
    }
    if any(problems.values()):
        raise _refused(file, "; ".join(f"{what}: {_listed(some)}" for what, some in problems.items() if some))
    masks = {
        layer.name: given[named[layer.name]] != 0 if layer.name in named else torch.ones(layer.shape, dtype=torch.bool)
        for layer in layers
    }
    _check_counts(file, masks)
    if structure is not None:
        _check_structure(file, masks, layers, structure)
    return masks


def _by_layer(given: Masks, layers: Sequence[Layer]) -> dict[str, str]:
    """By layer the name in the file of its mask, or of the weight whose zeros are the mask."""
    names = {layer.name: (layer.name + SUFFIX, layer.name) for layer in layers}
    return {
        layer: next(name for name in some if name in given) for layer, some in names.items() if set(some) & given.keys()
    }


def _strangers(given: Masks, named: Mapping[str, str]) -> list[str]:
    """Masks that belong to no layer and prune something; of a network of torch.nn.utils.prune also its weights."""
    of_prune = any(name.endswith(SUFFIX) for name in named.values())
    others = given.keys() - set(named.values())
    return sorted(
        name for name in others if (name.endswith(SUFFIX) or not of_prune) and not _keeps_everything(given[name])
    )


def _keeps_everything(value: torch.Tensor) -> bool:
    # A file may say that a few bytes are a tensor of any size.
    is_stored = value.numel() <= value.untyped_storage().nbytes()
    return is_stored and not value.is_complex() and bool((value == 1).all())


def _problem(value: torch.Tensor, layer: Layer, zeros: bool) -> str:
    """Why a tensor is no mask of a layer; empty if it is one."""
    kind = str(value.dtype).removeprefix("torch.")
    if tuple(value.shape) != layer.shape:
        return f"{_shaped(tuple(value.shape))} in the file, {_shaped(layer.shape)} in the network"
    if value.is_complex():
        return f"{kind}, not numbers that are 0 or 1"
    if not bool(value.isfinite().all()):
        return "not all finite"
    if zeros:
        return "" if value.is_floating_point() else f"{kind}, which weights are not: leave out `zeros`"
    wrong = (value != 0) & (value != 1)
    if bool(wrong.any()):
        return f"{float(value[wrong][0]):g} is neither 0 nor 1; if these are weights, set `zeros: true`"
    return ""


def _check_counts(file: prunebench.File, masks: Masks) -> None:
    """Masks prune something and keep something."""
    kept, size = _counts(masks)
    if kept == 0:
        raise _refused(file, "nothing is kept in any layer")
    if kept == size:
        raise _refused(file, "nothing is pruned in any layer")


def _check_structure(
    file: prunebench.File, masks: Masks, layers: Iterable[Layer], structure: prunebench.Structure
) -> None:
    """N of every M weights are kept in each layer of which anything is pruned."""
    wrong = []
    for layer in layers:
        mask = masks[layer.name]
        if bool(mask.all()):
            continue
        if not structure.fits(layer):
            wrong.append(f"{layer.name} ({layer.inputs} inputs cannot be divided by {structure.m})")
        elif bad := _groups_otherwise(mask, layer, structure):
            wrong.append(f"{layer.name} ({bad} of {layer.size // structure.m} groups)")
    if wrong:
        raise _refused(file, f"not {structure}: {_listed(wrong)}")


def _groups_otherwise(mask: torch.Tensor, layer: Layer, structure: prunebench.Structure) -> int:
    """How many groups of consecutive inputs do not keep exactly N."""
    groups = mask.movedim(layer.input_dim, -1).reshape(-1, structure.m)
    return int((groups.sum(-1) != structure.n).sum())


def _density(masks: Masks, trial: prunebench.Trial) -> float:
    """That of the masks. Raises Unreachable for a trial of another sparsity, with the one that they have."""
    kept, size = _counts(masks)
    if not _is_near(trial.density * size, kept):
        raise Unreachable(
            f"the masks keep {kept:,} of {size:,} weights, a sparsity of {_written(kept, size)} and no other: write "
            f"`sparsities: [{_written(kept, size)}]` with the method"
        )
    return kept / size


def _counts(masks: Masks) -> tuple[int, int]:
    """How many weights are kept, and how many there are."""
    return sum(int(mask.sum()) for mask in masks.values()), sum(mask.numel() for mask in masks.values())


def _is_near(requested: float, kept: int) -> bool:
    return abs(requested - kept) <= max(1.0, TOLERANCE * kept)


def _written(kept: int, size: int) -> str:
    """The sparsity with as many digits as it takes to ask for it."""
    sparsity = 1 - kept / size
    rounded = (round(sparsity, digits) for digits in range(2, 17))
    return repr(next((one for one in rounded if 0 < one < 1 and _is_near((1 - one) * size, kept)), sparsity))


def _any(patterns: Iterable[str], name: str) -> bool:
    return any(re.search(pattern, name) for pattern in patterns)


def _refused(file: prunebench.File, reason: str) -> WeightsError:
    return WeightsError(f"the masks of {Path(file.path).name} do not fit; {reason}")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(name[:150] for name in names[:SHOWN]) + more


def _shaped(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "a single number"


@prunebench.hookimpl
def register_methods() -> list[type[prunebench.Method]]:
    return [Imported]
