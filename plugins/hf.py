"""Transformers of the library `transformers`, from a local folder: `config.json` and `model.safetensors`.

Nothing is downloaded, no code of the folder is run, and no pickled file is read: the configuration is read as JSON, the
network is one that the library itself has, and weights are safetensors.
"""

import copy
import functools
import inspect
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import BeforeValidator
from torch import nn
from typing_extensions import Doc

import prunebench
from prunebench.api.files import File, Weights, located
from prunebench.api.weights import aliases

CONFIG, WEIGHTS = "config.json", "model.safetensors"
ATTENTION = "eager"
"""Attention by plain operations: it has second derivatives, and every operation in it is counted and exported."""
PINNED = re.compile(r"@sha256:[0-9a-f]{64}$")
T = TypeVar("T")
LAYERS = 1_000
"""More blocks than any network has: building so many would never end."""
LEGACY = (
    ("LayerNorm.gamma", "LayerNorm.weight"),
    ("LayerNorm.beta", "LayerNorm.bias"),
    ("embed_out.", "lm_head."),
)
"""Parts of names in files of older or other versions of the library, and those of today."""
BUFFERS = re.compile(r"(^|\.)(position_ids|token_type_ids|rotary_emb\.inv_freq|attn\.(masked_)?bias)$")
"""What older files hold although it is computed."""


def _configuration(value: object) -> object:
    """The path of the configuration in a folder."""
    if not isinstance(value, str) or PINNED.search(value) or value.endswith(f"/{CONFIG}"):
        return value
    folder = located(value)
    if not folder.is_dir():
        raise ValueError(f"{value!r} {'is not a folder' if folder.exists() else 'does not exist'}")
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{value!r} has no {CONFIG}: give a folder that `save_pretrained` of transformers wrote")
    return f"{value.rstrip('/')}/{CONFIG}"


class HF(prunebench.Model):
    """A pretrained network of Hugging Face's transformers, from a local folder; nothing is downloaded or executed.

    The objective decides its head: classes and numbers (sequence classification), the start and the end of an answer
    (question answering), or the next token at each position (causal language models). Trials start from
    `model.safetensors` in the folder, and every parameter must be in it. `head: fresh` draws new weights for the head
    and, if the file has none, the pooling layer before it.

    Prunable are the linear layers of the blocks. Embeddings, norms, the pooling layer and the head stay dense, and are
    no part of the sparsity. Inputs are one sequence of tokens, or several by the names that transformers uses:
    `input_ids`, `attention_mask`, `token_type_ids`.
    """

    name = "hf"
    version = 1
    reference = "Wolf et al. 2020, Transformers: State-of-the-Art Natural Language Processing, EMNLP (demonstrations)"

    folder: Annotated[
        File,
        BeforeValidator(_configuration),
        Doc("folder with config.json and model.safetensors; `package:NAME/PATH` is in an installed package"),
    ]
    head: Annotated[
        Literal["file", "fresh"], Doc("whether the head is in the file, or is new, and one in the file is not used")
    ] = "file"
    pretrained: Annotated[bool, Doc("false: all weights are random, and the folder needs no weights")] = True

    def __post_init__(self) -> None:
        _config(self.folder)

    def build_for(self, interface: prunebench.Interface) -> nn.Module:
        head = _head_for(interface)
        module = _built(self.folder, head, interface)
        _check_interface(module, interface, self.folder.path)
        if head == "tokens" and not next(module.parameters()).is_meta:
            _check_causal(module, interface)
        return module

    def prunable(self, module: nn.Module) -> Sequence[str]:
        layers = (f"{path}.{name}.weight" for path in _blocks(module) for name in _linear(module.get_submodule(path)))
        return list(layers)

    def blocks(self, module: nn.Module) -> Sequence[str]:
        return list(_blocks(module))

    def starting_weights(self, interface: prunebench.Interface) -> Weights | None:
        if not self.pretrained:
            return None
        file = _weights_of(self.folder)
        with torch.device("meta"):
            module = self.build_for(interface)
        if self.head == "fresh":
            return Weights(file=file, fresh=_fresh(module, file))
        _check_head(module, file)
        return Weights(file=file)

    def converted(self, tensors: Mapping[str, torch.Tensor], module: nn.Module) -> Mapping[str, torch.Tensor]:
        found, shapes = _renamed(tensors, module), dict(module.named_parameters())
        transposed = [name for name in _transposed(module) if name in found]
        if any(found[name].shape != shapes[name].shape for name in transposed):  # as transformers stores them
            found |= {name: found[name].T for name in transposed}
        if self.head == "fresh":
            known, prefix = set(module.state_dict()), str(module.base_model_prefix)
            found = {name: value for name, value in found.items() if name in known or not _is_head(name, prefix)}
        return found


# --- the folder


@functools.lru_cache(maxsize=32)
def _config(file: File) -> Any:
    """The configuration of a folder. Raises ValueError for one that is not transformers' own, in one sentence."""
    transformers, path = _transformers(), file.path
    try:
        values = json.loads(file.read())
    except (ValueError, RecursionError):
        raise ValueError(f"{path!r} cannot be read as JSON") from None
    kind = values.get("model_type") if isinstance(values, dict) else None
    if not isinstance(kind, str):
        raise ValueError(f"{path!r} has no `model_type`, as every {CONFIG} of transformers has")
    if "auto_map" in values:
        raise ValueError(f"{path!r} asks for custom code (`auto_map`), which is never executed: "
                         "only networks that transformers itself has can be used")  # fmt: skip
    if "quantization_config" in values:
        raise ValueError(f"{path!r} is of a quantized network, whose weights cannot be pruned: give it in floats")
    if kind not in transformers.CONFIG_MAPPING:
        raise ValueError(
            f"{path!r}: transformers {transformers.__version__} has no networks of model_type {kind[:80]!r}"
        )
    try:
        config = transformers.CONFIG_MAPPING[kind].from_dict(values)
        blocks = config.get_text_config().num_hidden_layers
    except Exception as error:  # whatever the classes of transformers make of wrong values
        raise ValueError(f"{path!r} does not fit transformers' {kind!r}: {_line(error)}") from None
    if not isinstance(blocks, int) or not 1 <= blocks <= LAYERS:
        raise ValueError(f"{path!r}: the number of blocks is {blocks!r}, and must be 1 to {LAYERS}")
    return config


def _transformers() -> Any:
    if find_spec("transformers") is None:
        raise ValueError("model 'hf' needs the library transformers: pip install 'prunebench[hf]'")
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here asks a hub; this keeps the library from doing so
    import transformers  # a second to import: only a suite that names such a model pays for it

    transformers.logging.set_verbosity_error()
    return transformers


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]


def _weights_of(config: File) -> File:
    """The weights beside a configuration. Raises ValueError."""
    folder = config.path.removesuffix(CONFIG)
    place = located(folder or ".")
    if (place / WEIGHTS).is_file():
        return File.at(f"{folder}{WEIGHTS}")
    if (place / f"{WEIGHTS}.index.json").is_file():
        raise ValueError(f"{str(place)!r} has its weights in several files: save them in one, as "
                         "`save_pretrained(folder, max_shard_size='1TB')` does")  # fmt: skip
    hint = "`pretrained: false` draws random weights"
    if pickled := sorted(path.name for path in place.glob("*.bin")):
        hint = f"{pickled[0]} is pickled, and is not read: save_pretrained of transformers writes safetensors"
    raise ValueError(f"{str(place)!r} has no {WEIGHTS}; {hint}")


# --- the network

Head = Literal["classes", "answer", "tokens"]
AUTO: Mapping[Head, tuple[str, str]] = {
    "classes": ("AutoModelForSequenceClassification", "sequence classification"),
    "answer": ("AutoModelForQuestionAnswering", "question answering"),
    "tokens": ("AutoModelForCausalLM", "causal language modelling"),
}
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def _head_for(interface: prunebench.Interface) -> Head:
    """The head that gives outputs of a shape: (classes,), (2, length), or (length, vocabulary)."""
    given = interface.inputs[0]
    names = [one.name for one in interface.inputs]
    if any(one.kind not in ("tokens", "text") for one in interface.inputs):
        raise ValueError(f"the model takes tokens, and not {' and '.join(one.kind for one in interface.inputs)}")
    if names != [""] and (names[0] != INPUTS[0] or not set(names) <= set(INPUTS)):
        raise ValueError(f"inputs are called {', '.join(INPUTS)}, and not {', '.join(names)}")
    if len(interface.outputs) == 1:
        return "classes"
    if interface.outputs == (*given.shape, given.vocabulary):
        return "tokens"
    if interface.outputs == (2, *given.shape):
        return "answer"
    raise ValueError(f"the model has no head for outputs of shape {interface.outputs}")


def _built(folder: File, head: Head, interface: prunebench.Interface) -> nn.Module:
    """The network with a head, with new weights. Raises ValueError."""
    transformers, config = _transformers(), copy.deepcopy(_config(folder))
    config.use_cache = config.output_attentions = config.output_hidden_states = False
    config.return_dict = True
    if config.is_encoder_decoder:
        raise ValueError(
            f"{folder.path!r} has an encoder and a decoder, and only networks with one of them can be used"
        )
    if head == "classes":
        config.num_labels = interface.outputs[0]
    if head == "tokens":
        config.is_decoder = True  # an encoder would see the token that it is to predict
    name, task = AUTO[head]
    cls = getattr(transformers, name)
    if type(config) not in cls._model_mapping:
        raise ValueError(f"transformers has no {task} for model_type {config.model_type!r}, which this objective needs")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module: Any = cls.from_config(config, dtype=torch.float32, attn_implementation=ATTENTION)
    except Exception as error:  # whatever the network's own code makes of values that do not fit together
        raise ValueError(f"{folder.path!r} does not fit transformers' {config.model_type!r}: {_line(error)}") from None
    if module.config.pad_token_id is None:
        module.config.pad_token_id = 0
    _replace_conv1d(module)
    module.__class__ = _adapted(type(module), head)  # type: ignore[arg-type]
    module.vocabulary = interface.inputs[0].vocabulary
    return module  # type: ignore[no-any-return]


@functools.cache
def _adapted(cls: Any, head: Head) -> type[nn.Module]:
    """A network's class, with the tokens as the only argument of its forward pass, and the logits alone as its result.

    Parameters keep the names that they have in transformers.
    """
    accepted = inspect.signature(cls.forward).parameters

    def forward(self: Any, inputs: torch.Tensor | Mapping[str, torch.Tensor]) -> torch.Tensor:
        given = {INPUTS[0]: inputs} if isinstance(inputs, torch.Tensor) else dict(inputs)
        if "attention_mask" in given:  # some networks know padding only by its token
            given[INPUTS[0]] = torch.where(given["attention_mask"] != 0, given[INPUTS[0]], self.config.pad_token_id)
        if getattr(self.config, "type_vocab_size", 0) < 2:
            given.pop("token_type_ids", None)
        found = cls.forward(self, **{name: value for name, value in given.items() if name in accepted})
        if head == "answer":
            return torch.stack([found.start_logits, found.end_logits], 1)
        logits: torch.Tensor = found.logits
        return logits[..., : self.vocabulary] if head == "tokens" else logits

    return type(cls.__name__, (cls,), {"forward": forward, "__module__": cls.__module__})


def _replace_conv1d(module: nn.Module) -> None:
    """Replace the transposed linear layers of GPT-2 by torch's own, which layerwise methods and kernels know."""
    from transformers.pytorch_utils import Conv1D

    for path, layer in list(module.named_modules()):
        if isinstance(layer, Conv1D):
            inputs, outputs = layer.weight.shape
            linear: Any = nn.Linear(inputs, outputs, device="meta")  # which draws nothing
            linear.weight, linear.bias = nn.Parameter(layer.weight.detach().T.contiguous()), layer.bias
            linear.was_transposed = True
            module.set_submodule(path, linear)


def _transposed(module: nn.Module) -> set[str]:
    """The names of weights that transformers stores as (inputs, outputs)."""
    return {f"{path}.weight" for path, layer in module.named_modules() if hasattr(layer, "was_transposed")}


def _check_interface(module: Any, interface: prunebench.Interface, path: str) -> None:
    """Raise ValueError for tokens that the network does not have, and for more of them than it has positions for."""
    given, config = interface.inputs[0], module.config.get_text_config()
    if given.vocabulary > config.vocab_size:
        raise ValueError(f"the data has {given.vocabulary} different tokens and {path!r} only {config.vocab_size}: "
                         "give the data the tokenizer of this network")  # fmt: skip
    most = getattr(config, "max_position_embeddings", None)
    positions = next((one for name, one in module.named_modules() if name.endswith("position_embeddings")), None)
    if isinstance(most, int) and isinstance(positions, nn.Embedding) and positions.padding_idx is not None:
        most -= positions.padding_idx + 1  # RoBERTa counts positions from behind the padding
    if isinstance(most, int) and 0 < most < given.shape[0]:
        raise ValueError(f"the data has {given.shape[0]} tokens in an example, and {path!r} positions for {most}: "
                         f"give the data `length: {most}`")  # fmt: skip


@torch.no_grad()
def _check_causal(module: nn.Module, interface: prunebench.Interface) -> None:
    """Raise ValueError for a network whose outputs depend on later tokens: it would be told what it is to predict."""
    given, training = interface.inputs[0], module.training
    length = min(4, given.shape[0])
    tokens = torch.zeros(2, length, dtype=torch.int64)
    tokens[1, -1] = given.vocabulary - 1
    outputs = module.eval()(tokens)
    module.train(training)
    if length > 1 and not torch.allclose(outputs[0, :-1], outputs[1, :-1], atol=1e-5):
        raise ValueError(f"{type(module).__name__} is no language model: what it predicts depends on later tokens")


def _linear(module: nn.Module) -> list[str]:
    """The paths of the linear layers in a module."""
    return [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]


def _blocks(module: nn.Module, path: str = "") -> Iterator[str]:
    """The paths of the blocks: the elements of the outermost lists that hold linear layers."""
    for name, child in module.named_children():
        below = f"{path}.{name}".removeprefix(".")
        if isinstance(child, nn.ModuleList) and any(isinstance(one, nn.Linear) for one in child.modules()):
            yield from (f"{below}.{place}" for place in range(len(child)))
        else:
            yield from _blocks(child, below)


# --- the weights


def _fresh(module: Any, file: File) -> tuple[str, ...]:
    """Patterns of the names of the head, and of the pooling layer where the file has none."""
    prefix = re.escape(module.base_model_prefix)
    head, pooling = f"^(?!{prefix}\\.)", f"^{prefix}\\.pooler\\."
    names = [name for name, _ in module.named_parameters()]
    given = _renamed(dict.fromkeys(_names_in(file)), module)
    pooled = [name for name in names if re.search(pooling, name)]
    found = [head] if any(re.search(head, name) for name in names) else []
    return (*found, pooling) if pooled and not any(name in given for name in pooled) else tuple(found)


def _check_head(module: Any, file: File) -> None:
    """Raise ValueError for a file that has all weights but those of the head."""
    given = _renamed(dict.fromkeys(_names_in(file)), module)
    tied = aliases(module)
    missing = [name for name, _ in module.named_parameters() if not any(one in given for one in tied[name])]
    if missing and all(_is_head(name, module.base_model_prefix) for name in missing):
        raise ValueError(f"{file.path!r} has no head for this objective ({', '.join(missing[:6])}): "
                         "`head: fresh` begins with a random one")  # fmt: skip


@functools.lru_cache(maxsize=8)
def _names_in(file: File) -> tuple[str, ...]:
    """The names of the tensors in a safetensors file. Raises ValueError for any other file."""
    import safetensors

    try:
        with safetensors.safe_open(str(file.location), "pt") as opened:
            return tuple(opened.keys())
    except Exception as error:
        raise ValueError(f"{file.path!r} cannot be read as safetensors: {_line(error)}") from None


def _is_head(name: str, prefix: str) -> bool:
    return not name.startswith(f"{prefix}.") or name.startswith(f"{prefix}.pooler.")


def _renamed(tensors: Mapping[str, T], module: Any) -> dict[str, T]:
    """Tensors by the names that they have in a network with a head, without what today's networks compute."""
    known, found = set(module.state_dict()), dict[str, T]()
    for name, value in tensors.items():
        today = functools.reduce(lambda text, pair: text.replace(*pair), LEGACY, name)
        names = (name, today, f"{module.base_model_prefix}.{today}")
        new = next((one for one in names if one in known and (one == name or one not in tensors)), name)
        if new in known or not BUFFERS.search(new):
            found[new] = value
    return found


@prunebench.hookimpl
def register_models() -> list[type[prunebench.Model]]:
    return [HF]
