"""The cases: what is computed, and whose version speaks for it.

Registered methods, models and data sets, their presets, and the choices of their parameters are found, not listed: what
is new has no stored values, and the test says so.
"""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import nn

import prunebench
from prunebench import (
    Cut,
    Deploy,
    Distillation,
    Initialize,
    Outliers,
    Prune,
    PruneLayerwise,
    Reconstruct,
    Reinitialize,
    Rewind,
    Shuffle,
    Structure,
    Train,
)
from prunebench.api import plugins
from prunebench.api.components import Component, Dataset
from prunebench.api.files import File
from prunebench.api.layers import Layer
from prunebench.api.methods import Method
from prunebench.api.tasks import Optimizer, Prunable, Schedule
from prunebench.api.times import Clock
from prunebench.data import seeds
from prunebench.data.augmentation import augment
from prunebench.inspection.tickets import Facts, Ticket, load_ticket
from prunebench.network.description import describe
from prunebench.plan import engines
from prunebench.plan.planning import protocol, resolve
from prunebench.pruning.allocation import total_kept
from prunebench.pruning.masks import keep_highest
from prunebench.suite.checking import exact
from prunebench.suite.descriptions import parameters
from prunebench.suite.reading import trial_to_plain
from prunebench.training.optimizers import TORCH, _unusable
from prunebench.training.recipes import learning_rate, resolved_options
from tests.golden import chains
from tests.golden.chains import (
    Blobs,
    Chained,
    ChannelProbe,
    LayerProbe,
    Net,
    Probe,
    ResidualNet,
    chain,
    checksum,
    numbers,
    short,
    task_of,
    trial_of,
)
from tests.plugins.tokenizer_files import written

TOLERANCE = 1e-5
CORE = "protocol"


@dataclass(frozen=True)
class Case:
    """Something that is computed; `component` is what has the version that speaks for it, the protocol without one."""

    name: str
    measure: Callable[[], Any]
    component: type[Component] | None = None
    tolerance: float = TOLERANCE
    """Of numbers, relative to the larger one: last bits differ between types of processors."""


def all_cases() -> dict[str, Case]:
    found = [*_core(), *_optimizers(), *_methods(), *_models(), *_datasets(), *_objectives()]
    return {case.name: case for case in found}


def loaded():
    """The built-in plugins, whatever else is installed."""
    return plugins.load((), frozenset(plugins.foreign_names()))


# --- the core


def _core() -> Iterator[Case]:
    for name, stages in _chains().items():
        yield Case(f"core/stages/{name}", lambda stages=stages: chain(Chained(chain=(Initialize(), *stages))))
    for name, stages in _layerwise_chains().items():
        yield Case(f"core/layerwise/{name}", lambda stages=stages: _layerwise(stages))
    for name, stages in _cut_chains().items():
        yield Case(f"core/cut/{name}", lambda stages=stages: _layerwise(stages))
    for name, recipe in RECIPES.items():
        tolerance = 3e-2 if "bfloat16" in name else TOLERANCE
        yield Case(f"core/recipe/{name}", lambda recipe=recipe: _dense(**recipe), tolerance=tolerance)
    yield Case("engine/sparse", _compressed, SparseEngine)
    for name, schedule in SCHEDULES.items():
        yield Case(f"core/schedule/{name}", lambda schedule=schedule: _rates(schedule))
    for name in ("shuffle", "reinitialize", "invert"):
        yield Case(f"core/ablation/{name}", lambda name=name: chain(_pruned(), **{name: True}))
    for kinds in (("flip",), ("crop",), ("resized-crop",), ("flip", "crop"), ("resized-crop", "crop", "flip")):
        yield Case(f"core/augmentation/{'+'.join(kinds)}", lambda kinds=kinds: _augmented(kinds))
    yield Case("core/allocation", _allocations)
    yield Case("core/rounding", lambda: [total_kept(size, density) for size, density in COUNTS])
    yield Case("core/prunable", lambda: chain(_pruned(), task_of(prunable=Prunable(first=False, exclude=("8",)))))
    yield Case("core/many-classes", lambda: _dense(dataset=Blobs(classes=120)))
    yield Case("core/dropout", lambda: _dense(model=Net(dropout=0.5)))
    yield Case("core/draws", _draws)
    yield Case("core/keys", _keys)
    yield Case("core/network", _network)
    yield Case("core/streaming", _streamed, tolerance=1e-3)


class SparseEngine(Method):
    """In the place of a component, as the sparse engine has its own version."""

    name = "sparse-engine"
    version = engines.VERSION
    place = "prunebench/plan/engines.py"


def _compressed() -> Any:
    """A training on kept weights: of masks that stay, and of masks that move by a dense gradient."""
    rigl, _ = loaded().find("method", "rigl")
    small = {"model": Net(dropout=0.5), "prunable": Prunable(exclude=("0", "3")), "engine": "sparse"}
    chained = Chained(chain=(Initialize(), Prune(by=Probe(), density=0.2), Train()))
    return {
        "static": chain(chained, task_of(**small)),
        "rigl": chain(rigl(interval="4it"), task_of(**small, clip_norm=0.3), sparsity=0.8),
        "keys": [engines.AUTO_DENSITY, *(one.key for one in resolve(trial_of(chained, task_of(**small)), "0" * 32))],
    }


def _chains() -> Mapping[str, tuple[prunebench.Stage, ...]]:
    probe = Probe()
    prune = Prune(by=probe, density=0.4)
    pruned = {
        name: (Train(until="6it"), Prune(by=probe, density=0.4, allocation=name), Train())
        for name in ("global", "uniform", "er", "erk")
    }
    shares = (("0.weight", 0.9), ("3.weight", 0.5), ("8.weight", 0.3))
    return {
        "initialize": (),
        "train": (Train(),),
        "train-in-two": (Train(until="9it"), Train()),
        "train-on": (Train(), Train(until="+5it", stream="tuning")),
        **{f"prune-{name}": stages for name, stages in pruned.items()},
        "prune-by-shares": (Prune(by=probe, density=0.45, allocation=shares), Train(until="5it")),
        "prune-in-rounds": (Prune(by=Probe(gradient=True), density=0.3, rounds=4), Train(until="5it")),
        "prune-inverted": (Prune(by=probe, density=0.4, invert=True), Train(until="5it")),
        "prune-2-of-4": (Prune(by=probe, density=0.5, structure=Structure(2, 4)), Train(until="5it")),
        "prune-1-of-8": (Prune(by=probe, density=0.125, structure=Structure(1, 8)), Train(until="5it")),
        "shuffle": (Train(until="6it"), prune, Shuffle(), Train()),
        "rewind": (Train(until="6it"), Train(), prune, Rewind(to="6it"), Train()),
        "rewind-optimizer": (Train(until="6it"), Train(), prune, Rewind(to="6it", optimizer=True), Train()),
        "rewind-rate": (Train(until="6it"), Train(), prune, Rewind(to="6it", weights=False), Train()),
        "reinitialize": (Train(until="6it"), prune, Reinitialize(), Train()),
        "deploy": (prune, Train(), Deploy(batch=2)),
        "distilled": (Train(until="6it"), prune, Train(distillation=Distillation(temperature=3.0, weight=0.7))),
    }


def _layerwise_chains() -> Mapping[str, tuple[prunebench.Stage, ...]]:
    by = LayerProbe()

    def pruned(**changes: Any) -> tuple[prunebench.Stage, ...]:
        return (Train(until="6it"), PruneLayerwise(**{"by": by, "density": 0.4, "examples": 30, **changes}))

    return {
        "uniform": (*pruned(), Train(until="+3it")),
        "erk": pruned(allocation="erk"),
        "outliers": pruned(allocation=Outliers(multiple=2.0, spread=0.1)),
        "2-of-4": pruned(density=0.5, structure=Structure(2, 4)),
        "2-of-4-permuted": pruned(density=0.5, structure=Structure(2, 4, permuted=True)),
        "reconstructed": pruned(reconstruct=True),
        "reconstruct": (Train(until="6it"), Prune(by=Probe(), density=0.4), Reconstruct(examples=30)),
        "shuffled": (*pruned(), Shuffle(), Reconstruct(examples=30, damping=0.1)),
    }


def _cut_chains() -> Mapping[str, tuple[prunebench.Stage, ...]]:
    by, tuned = ChannelProbe(), Train(until="+3it")

    def cut(**changes: Any) -> tuple[prunebench.Stage, ...]:
        return (Train(until="6it"), Train(), Cut(**{"by": by, "density": 0.4, **changes}))

    return {
        "global": (*cut(), tuned),
        "uniform": (*cut(allocation="uniform", align=2), tuned),
        "macs": (*cut(unit="macs", exclude=("^3",)), tuned),
        "inverted": (*cut(unit="channels", invert=True), tuned),
        "in-rounds": (*cut(density=0.7), tuned, Cut(by=by, density=0.4, unit="parameters"), tuned),
        "rewound": (*cut(), Rewind(to="6it", optimizer=True), Train()),
        "reinitialized": (*cut(), Reinitialize(), Train(until="5it")),
        "pruned": (*cut(), Prune(by=Probe(), density=0.2), tuned),
        "after-pruning": (Train(until="6it"), Prune(by=Probe(), density=0.5), Cut(by=by, density=0.3), tuned),
    }


def _layerwise(stages: tuple[prunebench.Stage, ...]) -> Any:
    """What a chain gives, and the key that it ends with."""
    method = Chained(chain=(Initialize(), *stages))
    trial = trial_of(method)
    return {**chain(method), "key": list(resolve(trial, protocol(trial.task, "0" * 32)))[-1].key}


def _pruned() -> Chained:
    return Chained(chain=(Initialize(), Train(until="4it"), Prune(by=Probe(), density=0.5), Train()))


def _dense(**task) -> Any:
    return chain(Chained(chain=(Initialize(), Train())), task_of(**{"steps": 12, **task}))


SCHEDULES = {
    "constant": Schedule(),
    "warmup": Schedule(warmup="5it"),
    "multistep": Schedule(name="multistep", milestones=("1ep", "50%"), gamma=0.3),
    "cosine": Schedule(name="cosine"),
    "cosine-warmup": Schedule(name="cosine", warmup="1ep"),
    "linear": Schedule(name="linear", warmup="3it"),
    "one-cycle": Schedule(name="one-cycle"),
    "one-cycle-given": Schedule(name="one-cycle", peak="1ep", initial=0.1, final=0.01),
}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "cosine": {"schedule": SCHEDULES["cosine-warmup"]},
    "multistep": {"schedule": SCHEDULES["multistep"]},
    "validation": {"validation": 10},
    "label-smoothing": {"label_smoothing": 0.1},
    "clip-norm": {"clip_norm": 0.3},
    "augmented": {"augmentation": ("flip", "crop", "resized-crop")},
    "bfloat16": {"precision": "bfloat16", "steps": 3, "evaluate_every": "end"},
    "channels-last": {"channels_last": True},
    "evaluations": {"evaluate_every": "2it"},
}
COUNTS = [(size, density) for size in (1, 7, 10, 1848, 266_200) for density in (0.05, 0.1, 0.25, 0.35, 0.5, 0.95)]


def _rates(schedule: Schedule) -> list[float]:
    recipe, clock = task_of(schedule=schedule).recipe, Clock(4, 20)
    return [short(learning_rate(recipe, clock, step)) for step in range(23)]


def _augmented(kinds: tuple[str, ...]) -> Any:
    numbers_ = np.random.default_rng(1)
    inputs = torch.from_numpy(numbers_.integers(0, 256, (5, 2, 9, 7), dtype=np.uint8))
    found = augment(inputs, kinds, seeds.generator(3, "golden", "augmentation"))
    return checksum(found) if found.dtype == torch.uint8 else numbers(dict(enumerate(found)))


def _allocations() -> Any:
    """How many weights each layer keeps, by rule and density, of random scores."""
    shapes = ((8, 1, 3, 3), (16, 8, 3, 3), (16, 1, 3, 3), (300, 144), (10, 300))
    layers = tuple(Layer(str(number), shape, 0.0) for number, shape in enumerate(shapes))
    generator = torch.Generator().manual_seed(5)
    scores = {layer.name: torch.rand(layer.shape, generator=generator, dtype=torch.float64) for layer in layers}
    dense = {layer.name: torch.ones(layer.shape, dtype=torch.bool) for layer in layers}
    found = {}
    for rule in ("global", "uniform", "er", "erk"):
        for density in (0.02, 0.1, 0.37, 0.9):
            masks = keep_highest(scores, dense, layers, density, rule)
            found[f"{rule} {density}"] = [int(mask.sum()) for mask in masks.values()]
    return found


def _draws() -> Any:
    drawn = torch.rand(3, generator=seeds.generator(3, "golden", 7), dtype=torch.float64)
    return [seeds.derive(3, "golden", 7), *map(short, drawn.tolist())]


def _keys() -> Any:
    """The keys that chains end with: refactoring must not change one, or stored results are lost without a reason."""
    tasks = {
        "": task_of(),
        "epochs": task_of(epochs=2, optimizer=Optimizer(name="adam", lr=0.1), schedule=SCHEDULES["multistep"]),
        "prunable": task_of(prunable=Prunable(first=False, exclude=("8",)), augmentation=("flip",), clip_norm=1.0),
    }
    found = {f"task {name}".strip(): protocol(task, "0" * 32) for name, task in tasks.items()}
    for name, stages in _chains().items():
        trial = trial_of(Chained(chain=(Initialize(), *stages)))
        found[name] = list(resolve(trial, found["task"]))[-1].key
    return found


def _network() -> Any:
    """The layers and FLOPs of a network, dense and pruned."""
    network = describe(task_of())
    kept = {layer.name: layer.size // 3 for layer in network.layers}
    layers = [[layer.name, list(layer.shape), layer.flops] for layer in network.layers]
    return [network.flops, network.parameters, network.flops_at(kept), layers]


def _pictures() -> Any:
    """A folder of pictures, and the data set of it; what it decodes it crops out of pictures of other sizes."""
    root, drawn = chains.folder() / "pictures", np.random.default_rng(2)
    for part, count in (("train", 6), ("test", 3)):
        for kind in ("cats", "dogs"):
            place = root / "animals" / part / kind
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                height, width = (int(size) for size in drawn.integers(12, 30, 2))
                across, down = np.meshgrid(np.arange(width), np.arange(height))
                waves = [127 + 120 * np.sin(across / (3 + number) + down / (5 + one) + one) for one in range(3)]
                Image.fromarray(np.stack(waves, 2).astype(np.uint8)).save(place / f"{number}.png")
    facts = {"path": "animals", "classes": 2, "train": 12, "test": 6, "size": 8, "crop": 0.8}
    return root, loaded().find("dataset", "image-folder")[0], facts


def _streamed() -> Any:
    """The core's part of streaming: which pictures a step sees, and by which draws they are cropped."""
    root, cls, facts = _pictures()
    recipe = {"batch_size": 5, "steps": 6, "augmentation": ("resized-crop", "flip")}
    task = task_of(dataset=cls(**facts, stream=True), **recipe)
    return chain(Chained(chain=(Initialize(), Train())), task, root=root)


# --- optimizers


def _optimizers() -> Iterator[Case]:
    for spec in (
        Optimizer(name="sgd", lr=0.02, momentum=0.8, nesterov=True, weight_decay=0.01),
        Optimizer(name="adam", lr=0.02, betas=(0.7, 0.9), eps=1e-4, weight_decay=0.01),
    ):
        yield Case(f"core/optimizer/{spec.name}/given", lambda spec=spec: _dense(optimizer=spec, steps=5))
    for name in (*TORCH, *timm_optimizers()):
        tolerance = UNSTEADY.get(name, TOLERANCE)
        yield Case(f"core/optimizer/{name}", lambda name=name: _optimized(name), tolerance=tolerance)


def timm_optimizers() -> list[str]:
    from timm import optim

    names = optim.list_optimizers()
    return [name for name in names if not (name in TORCH or name.startswith(UNSAVED) or _unusable(name))]


UNSAVED = "kron"
"""Begins the names of optimizers whose state is no tensors, so that no training with them can be stored."""
UNSTEADY: Mapping[str, float] = dict.fromkeys(
    ("adafactorbv", "adafactorbvc", "adamuon", "muon", "nadamuon", "nmuon"), 1e-2
)
"""Optimizers that work with fewer bits than float32 has, such as bfloat16."""


def _optimized(name: str) -> Any:
    spec = Optimizer(name=name, lr=0.01)
    found = _dense(optimizer=spec, steps=5, evaluate_every="end")
    options = {option: list(v) if isinstance(v, tuple) else v for option, v in resolved_options(spec).items()}
    kept = {part: found[part] for part in ("weights", "optimizer", "figures") if part in found}
    return {"options": options, **(kept or found)}


# --- methods

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "gradual": {"start": "3it", "interval": "3it"},
    "woodfisher-gradual": {"gradients": 3, "between": "3it", "prunings": 3, "initial": 0.3},
    "rigl": {"interval": "4it"},
    "set": {"interval": "4it"},
    "snfs": {"interval": "4it"},
    "int8": {"batches": 2, "batch_size": 20},
}
"""Parameters with which all of a method's code runs within twenty steps."""
TWO_OF_FOUR: Mapping[str, Any] = {"structure": {"n": 2, "m": 4}}
MORE: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "admm": (TWO_OF_FOUR,),
    "alps": (TWO_OF_FOUR,),
    "cbs": ({"gradients": 20, "starts": 0},),
    "chita": ({"gradients": 20, "rounds": 3},),
    "dsnot": (TWO_OF_FOUR, {"threshold": 0.01}),
    "grasp": ({"batches": 2, "batch_size": 20, "temperature": 5.0},),
    "imp": ({"rewind_to": "5it"}, {"scope": "layerwise", "conv_rate": 0.1, "linear_rate": 0.3, "output_rate": 0.05}),
    "lr-rewinding": ({"rewind_to": "15it"},),
    "magnitude": ({"rounds": 3, "finetune": "6it"},),
    "magnitude-layerwise": ({"finetune": "6it"}, TWO_OF_FOUR),
    "nm": ({"finetune": "6it"}, {"n": 1}),
    "sparsegpt": ({"columns": 5}, TWO_OF_FOUR),
    "obc": (TWO_OF_FOUR,),
    "movement": ({"allocation": "global", "penalty": 2.0, "until": "end"},),
    "obd": ({"gradients": 3, "batch_size": 10},),
    "ria": ({"power": 1.0}, {"structure": {"n": 2, "m": 4, "permuted": True}}),
    "snip": ({"iterations": 3, "batches": 2, "batch_size": 20},),
    "sr-ste": ({"decay": 0.05},),
    "synflow": ({"iterations": 3},),
    "wanda": (TWO_OF_FOUR,),
    "woodfisher": ({"gradients": 3, "block": 7},),
    "woodfisher-gradual": ({"gradients": 3, "rewind_to": "5it", "prunings": 2},),
}
"""Values of parameters that are not chosen from a few."""
LOOSE = {"int8": 5e-2}
"""Methods whose rounding is coarse: a last bit may move an activation by a whole step of eight bits."""


def _methods() -> Iterator[Case]:
    for name, cls in sorted(loaded().components["method"].items()):
        for label, values in _variations(name, cls).items():
            yield Case(
                f"method/{name}/{label}",
                lambda cls=cls, values=values: _of_method(cls, values),
                cls,
                LOOSE.get(name, TOLERANCE),
            )


def _variations(name: str, cls: type[Component]) -> dict[str, Mapping[str, Any]]:
    """Its defaults, its presets, every choice of every parameter, and what MORE has."""
    given = {"transfer": {"ticket": None}, "imported": {"masks": None, "source": "golden"}}.get(name, {})
    settings = {**SETTINGS.get(name, {}), **given}
    found: dict[str, Mapping[str, Any]] = {"default": settings}
    found |= {f"preset {preset}": {**settings, **one.values} for preset, one in cls.presets.items()}
    for parameter in parameters(cls):
        choices = (True, False) if isinstance(parameter.default, bool) else parameter.choices
        for choice in choices:
            if choice != parameter.default:
                found[f"{parameter.name}={choice}"] = {**settings, parameter.name: choice}
    for values in MORE.get(name, ()):
        found[",".join(f"{key}={value}" for key, value in values.items())] = {**settings, **values}
    return found


def _of_method(cls: type[Method], values: Mapping[str, Any]) -> Any:
    of_file = {"ticket": _ticket, "masks": lambda: _masks(values.get("zeros", False))}
    given = {name: make() for name, make in of_file.items() if name in values}
    values = {**values, **given}
    nested = any(isinstance(value, Mapping) for value in values.values())
    method = exact(cls, values) if nested else cls(**values)
    if cls.deploy is not Method.deploy:
        stages = (Initialize(), Prune(by=Probe(), density=0.5), Train(), Deploy(by=method, batch=2))
        return chain(Chained(chain=stages), task_of(Net(rectified=True)))
    if cls.whole_blocks:
        return chain(method, task_of(ResidualNet()))
    # A ticket's weights meet other data here than they were drawn for: last bits grow faster than elsewhere.
    return chain(method, task_of(steps=5) if given else None, sparsity=_sparsity(method))


def _sparsity(method: Method) -> float:
    """One that the method can reach, and does in few steps: last bits grow with each."""
    if type(method).control:
        return 0.0
    if structure := getattr(method, "structure", None):
        return 1 - structure.density
    if hasattr(method, "n"):
        return 1 - method.n / method.m
    return {"transfer": 0.5, "imported": 0.5, "lr-rewinding": 0.3}.get(method.name, 0.7)


def _masks(zeros: bool) -> File:
    """The masks of the ticket, or its final weights."""
    ticket = load_ticket(_ticket())
    path = chains.folder() / f"masks-{zeros}.safetensors"
    safetensors.torch.save_file(ticket.final if zeros else ticket.masks, path)
    return File.at(str(path))


def _ticket() -> File:
    """Every other weight of the network, and other weights than a trial draws."""
    trial = trial_of(loaded().find("method", "dense")[0]())
    facts = trial.task.dataset.facts()
    with seeds.seeded(99, "golden"):
        values = dict(trial.task.model.build(facts.shape, facts.classes).state_dict())
    masks = {one.name: (torch.arange(one.size) % 2 == 0).view(one.shape) for one in trial.network.layers}
    final = {name: value * masks[name] if name in masks else value for name, value in values.items()}
    layers = tuple((layer.name, layer.shape) for layer in trial.network.layers)
    said = {"trial": str(trial), "configuration": trial_to_plain(trial), "layers": layers, "shape": facts.shape}
    empty = {"figures": {}, "key": "", "protocol": "", "fingerprint": "", "environment": {}}
    path = chains.folder() / "ticket.safetensors"
    Ticket(Facts(**said, **empty, classes=facts.classes, initial_step=0), masks, values, final).save(path)
    return File.at(str(path))


# --- models

TRANSFORMERS: Mapping[str, Mapping[str, Any]] = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 12},
    "bert": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
}
"""Configurations by the type of network, besides a vocabulary of 31."""
SMALL: Mapping[str, Mapping[str, Any]] = {
    "hf": {"folder": "gpt2", "pretrained": False},
    "timm": {"architecture": "test_resnet"},
    "wrn": {"depth": 10, "width": 1},
    **{name: {"width": 0.25} for name in ("resnet20", "resnet32", "resnet56", "resnet110")},
    **{name: {"width": 0.125} for name in ("vgg11", "vgg16", "vgg19")},
}
"""Parameters that make a model small."""
OTHER: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "timm": {
        "small-stem": {"architecture": "test_resnet", "small_stem": True},
        "transformer": {"architecture": "test_vit", "patch_size": 8},
    },
    "conv-2": {"dropout": {"dropout": 0.5}},
    "hf": {"bert": {"folder": "bert", "pretrained": False}},
    "wrn": {"dropout": {"depth": 10, "width": 1, "dropout": 0.3}},
}


def _models() -> Iterator[Case]:
    for name, cls in sorted(loaded().components["model"].items()):
        variations = {"default": SMALL.get(name, {}), **OTHER.get(name, {})}
        for parameter in parameters(cls):
            for choice in parameter.choices:
                if choice != parameter.default:
                    variations[f"{parameter.name}={choice}"] = {**SMALL.get(name, {}), parameter.name: choice}
        for label, values in variations.items():
            measure = _of_tokens if cls.build is prunebench.Model.build else _of_images
            make = functools.partial(_model, cls, values)
            yield Case(f"model/{name}/{label}", lambda make=make, measure=measure: measure(make()), cls, 1e-4)


def _model(cls: type[prunebench.Model], values: Mapping[str, Any]) -> prunebench.Model:
    """The model; a folder of transformers is written from the type of network that it is of."""
    if kind := values.get("folder"):
        path = chains.folder() / f"{kind}.json"
        path.write_text(json.dumps({"model_type": kind, "vocab_size": 31, **TRANSFORMERS[kind]}))
        values = {**values, "folder": File.at(str(path))}
    return cls(**values)


def _of_images(model: prunebench.Model) -> Any:
    shape = (3, 32, 32)
    inputs = torch.cos(torch.arange(4 * 3072, dtype=torch.float32)).view(4, *shape)
    return _of_model(model, prunebench.Interface.of_images(shape, 10), inputs)


def _of_tokens(model: prunebench.Model) -> Any:
    """For a language, and for classes."""
    inputs, given = torch.arange(4 * 12).view(4, 12) % 31, (prunebench.Input((12,), "tokens", 31),)
    outputs = {"language": (12, 31), "classes": (10,)}
    return {name: _of_model(model, prunebench.Interface(given, shape), inputs) for name, shape in outputs.items()}


def _of_model(model: prunebench.Model, interface: prunebench.Interface, inputs: torch.Tensor) -> Any:
    """Names and shapes, the weights as they are drawn, what comes out, and what may be pruned."""
    with seeds.seeded(3, "golden"):
        module = model.build_for(interface)
    values = {name: value for name, value in module.state_dict().items() if value.is_floating_point()}
    with torch.no_grad(), seeds.seeded(3, "golden", "forward"):
        outputs = {mode: module.train(mode == "train")(inputs) for mode in ("train", "eval")}
    named = [f"{name} {tuple(value.shape)}" for name, value in module.named_parameters()]
    return {
        "parameters": [len(named), sum(value.numel() for value in module.parameters())],
        "names": checksum(torch.frombuffer(bytearray("\n".join(named).encode()), dtype=torch.uint8)),
        "weights": chains._together(values),
        "outputs": numbers(outputs),
        "prunable": len(list(model.prunable(module))),
        "kinds": sorted({type(part).__name__ for part in module.modules() if isinstance(part, nn.Module)}),
    }


# --- data sets


def _datasets() -> Iterator[Case]:
    for name, cls in sorted(loaded().components["dataset"].items()):
        yield Case(f"dataset/{name}/facts", lambda cls=cls: _facts(cls), cls)
    components = loaded().components["dataset"]
    yield Case(
        "dataset/digits/content", lambda: chains.prepared(components["digits"]()).fingerprint, components["digits"]
    )
    tables = components["tables"]
    for table in ("breast-cancer", "diabetes", "iris", "wine"):
        yield Case(f"dataset/tables/{table}", lambda table=table: _rows(tables(table=table)), tables)
    yield Case("dataset/image-folder/content", _decoded, components["image-folder"], 2e-3)
    yield Case("dataset/squad/content", lambda: _windows(components["squad"]), components["squad"])


REQUIRED: Mapping[str, Mapping[str, Any]] = {
    "csv": {"path": "a.csv", "target": "y", "features": 3, "train": 8, "test": 2},
    "labelled-text": {"path": "texts", "classes": 2, "train": 8, "test": 2},
    "tables": {"table": "wine"},
    "text": {"path": "a.txt", "train": 8, "test": 2},
}
"""Parameters of data sets that have no default."""


def _facts(cls: type[Dataset]) -> Any:
    made = {"image-folder": lambda: _pictures()[2], "squad": _questions}
    dataset = cls(**(made[cls.name]() if cls.name in made else REQUIRED.get(cls.name, {})))
    facts = dataset.facts()
    if facts.inputs:
        inputs = [[one.name, list(one.shape), one.kind, one.vocabulary] for one in facts.inputs]
        return [inputs, facts.targets, list(facts.target_shape), facts.train, facts.test]
    if facts.kind != "images":
        sizes = [] if cls.name == "pydoc" else [facts.train, facts.test]  # Python's own text is that of its version
        return [list(facts.shape), facts.kind, facts.vocabulary, facts.targets, facts.classes, *sizes]
    return [list(facts.shape), facts.classes, facts.train, facts.test, list(dataset.mean), list(dataset.std)]


def _questions() -> Mapping[str, Any]:
    """The parameters of a data set of one passage, in several windows, and three questions."""
    passage = "good film , bad film , very good film . the film is bad"
    answers = {"good or bad ?": "very good", "which film ?": "bad film", "what is bad ?": "the film"}
    asked = [
        {"question": question, "answers": [{"text": text, "answer_start": passage.index(text)}]}
        for question, text in answers.items()
    ]
    path = chains.folder() / "squad.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": passage, "qas": asked}]}]}))
    tokenizer = File.at(written(chains.folder() / "words.json"))
    sizes = {"train": 9, "test": 9, "length": 14, "stride": 3}
    return {"training": File.at(str(path)), "testing": File.at(str(path)), "tokenizer": tokenizer, **sizes}


def _windows(cls: type[Dataset]) -> Any:
    """Tokens, answers and places in the passage, without the mark of the file."""
    loaded = cls(**_questions()).load(None)
    tokens = {name: torch.from_numpy(value).double() for name, value in loaded.test_inputs.items()}
    return numbers({**tokens, "targets": torch.from_numpy(np.delete(loaded.test_labels, 4, 1)).double()})


def _rows(dataset: Dataset) -> Any:
    """Of the rows to train on and to test on, which features and targets they have, and in which order."""
    loaded = dataset.load(None)
    parts = ("train_inputs", "train_labels", "test_inputs", "test_labels")
    return numbers({part: torch.from_numpy(getattr(loaded, part)).double() for part in parts})


def _decoded() -> Any:
    """Pictures as they are decoded: at once, while training, and cropped by chance."""
    root, cls, facts = _pictures()
    streamed, path = cls(**facts, stream=True), root / "animals" / "train" / "dogs" / "3.png"
    whole = cls(**facts).load(root)
    return {
        "train": numbers({"": torch.from_numpy(whole.train_inputs).double()}),
        "labels": [whole.train_labels.tolist(), whole.test_labels.tolist()],
        "files": [list(map(str, streamed.files(root).train)), list(map(int, streamed.files(root).train_labels))],
        **{
            str(draw): numbers({"": torch.from_numpy(np.array(streamed.decode(path, draw))).double()})
            for draw in (None, 5, 6)
        },
    }


# --- objectives

TARGETS: Mapping[str, Callable[[int], torch.Tensor]] = {
    "classes": lambda count: torch.arange(count) % 5,
    "labels": lambda count: (torch.arange(count * 5).view(count, 5) % 3 == 0).float(),
    "numbers": lambda count: 100 + 30 * torch.sin(torch.arange(count)),
    "tokens": lambda count: torch.arange(count * 4).view(count, 4) % 7,
}
"""Targets of each kind."""


def _objectives() -> Iterator[Case]:
    for name, cls in sorted(loaded().components["objective"].items()):
        component = None if cls is prunebench.Classification else cls
        if name == "question-answering":
            yield Case(f"objective/{name}/default", lambda cls=cls: _of_answers(cls), component)
            continue
        yield Case(f"objective/{name}/default", lambda cls=cls: _of_objective(cls()), component)
        for parameter in parameters(cls):
            if isinstance(parameter.default, bool):
                values = {parameter.name: not parameter.default}
                label = f"{parameter.name}={not parameter.default}"
                yield Case(f"objective/{name}/{label}", lambda cls=cls, v=values: _of_objective(cls(**v)), component)


def _of_answers(cls: type[prunebench.Objective]) -> Any:
    """The loss and the values of fixed outputs, for two questions on a passage in two windows each."""
    file, length = _questions()["testing"], 9
    begins = torch.tensor([-1, -1, 0, 5, 10, 12, 16, 21, -1])
    offsets = torch.cat([begins, torch.where(begins < 0, begins, begins + 4)])
    mark = int(file.sha256[:6], 16)
    heads = torch.tensor([[2 + row % 3, 3 + row % 3, row // 2, row % 2, mark] for row in range(4)])
    targets = torch.cat([heads, offsets.expand(4, -1)], 1).float()
    outputs = 2 * torch.cos(torch.arange(4 * 2 * length, dtype=torch.float32)).view(4, 2, length)
    objective, totals = cls(answers=(file,)), {}
    for place in (slice(3), slice(3, 4)):
        for name, value in objective.sums(outputs[place], targets[place]).items():
            totals[name] = totals.get(name, 0) + value.double()
    losses = [objective.loss(outputs, targets), objective.smoothed_loss(outputs, targets, 0.1)]
    found = {name: short(value) for name, value in objective.values(totals, 4).items()}
    return {"losses": [short(float(one)) for one in losses], **found}


def _of_objective(objective: prunebench.Objective) -> Any:
    """The loss and the values of fixed outputs and targets, in batches of five and four examples."""
    kind = type(objective).default_for[0]
    tokens = {"vocabulary": 7, "target_shape": (4,), "kind": "text", "shape": (4,)} if kind == "tokens" else {}
    counted = {"classes": 5} if kind in ("classes", "labels") else {}
    facts = prunebench.DataFacts(**{"shape": (2,), "kind": "features", "targets": kind, **tokens, **counted})
    targets, shape = TARGETS[kind](9), objective.outputs(facts)
    outputs = 2 * torch.cos(torch.arange(9 * int(np.prod(shape)), dtype=torch.float32)).view(9, *shape)
    fitted, totals = objective.fitted(targets), {}
    for place in (slice(5), slice(5, 9)):
        for name, value in fitted.sums(outputs[place], targets[place]).items():
            totals[name] = totals.get(name, 0) + value.double()
    found = {name: short(float(value)) for name, value in fitted.values(totals, 9).items()}
    losses = [fitted.loss(outputs, targets), *([fitted.smoothed_loss(outputs, targets, 0.1)] if fitted.smooths else [])]
    return {"outputs": list(shape), "loss": [short(float(loss)) for loss in losses], **found}
