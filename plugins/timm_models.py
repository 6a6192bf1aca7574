"""Every architecture of timm, by timm's own name."""

import contextlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Interval
from torch import nn
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import PrunebenchError
from prunebench.api.files import File, Weights
from prunebench.messages import nearest

POOLINGS = ("maxpool", "stem.pool", "features.pool0", "features.conv1_pool")
"""What timm's families call the pooling after their first convolution."""
GATES = ("weight", "gain", "skipinit_gain", "gamma", "gamma_1", "gamma_2", "gamma1", "gamma2", "scale", "ls1", "ls2")
"""What timm's families call the factors that a residual branch is multiplied by."""
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of weights in a repository of the hub, the first that is there."""
SMALL = 1e-2
"""A factor that all of a branch is multiplied by, and that begins at most here, closes the branch."""


class Timm(prunebench.Model):
    """An architecture of timm: `timm/resnet18`, `timm/vit_tiny_patch16_224`, ...; by default with random weights.

    With `pretrained`, trials start from the weights that timm has for it, if they are in the cache of Hugging Face's
    hub or of torch's; nothing is downloaded. The output layer is new unless the data has as many classes, and the first
    convolution is adapted to the number of channels as timm does.

    Networks for inputs of one size (vision transformers, for instance) are built for the data set's. Images of 32x32
    need `small_stem` with convolutional networks, and a smaller `patch_size` with vision transformers.
    """

    name = "timm"
    version = 1
    reference = "Wightman 2019, github.com/huggingface/pytorch-image-models"
    variant = "architecture"

    architecture: Annotated[str, Doc("timm's name, without the tag of its weights: resnet18")]
    small_stem: Annotated[bool, Doc("the first convolution is 3x3 without a stride, and no pooling follows it")] = False
    patch_size: Annotated[int, Ge(1), Doc("pixels of a patch; the name's own by default")] | None = None
    drop_path: Annotated[float, Interval(ge=0, lt=1), Doc("stochastic depth")] = 0.0
    zero_init: Annotated[
        bool,
        Doc(
            "as timm initializes: residual branches (and some output layers) begin at 0, or near it with layer scale. "
            "By default the factors of branches begin at 1, as papers on pruning at initialization assume: the weights "
            "of a branch that begins at 0 have no gradient"
        ),
    ] = False
    pretrained: Annotated[
        bool | str, Doc("true, or the tag of the weights such as a1_in1k: start from timm's pretrained weights")
    ] = prunebench.added_later(False)

    def __post_init__(self) -> None:
        import timm  # seconds to import: only a suite that names such a model pays for it

        known = timm.list_models()
        if self.architecture not in known:
            near = nearest(self.architecture.partition(".")[0], known, n=3, cutoff=0.6)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "; timm.list_models() lists them"
            raise ValueError(f"{self.architecture!r} is not an architecture of timm{hint}")
        if self.pretrained:
            _pretrained(self.architecture, self.pretrained)

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        import timm

        options: dict[str, Any] = {"drop_path_rate": self.drop_path} if self.drop_path else {}
        if self.patch_size is not None:
            options["patch_size"] = self.patch_size
        try:
            if getattr(timm.models.get_pretrained_cfg(self.architecture), "fixed_input_size", False):
                options["img_size"] = shape[1:]
            model: nn.Module = timm.create_model(
                self.architecture, pretrained=False, num_classes=classes, in_chans=shape[0], **options
            )
        except Exception as error:  # whatever the architecture's own code makes of what it was not written for
            reason = " ".join(str(error).split())
            raise PrunebenchError(f"timm/{self.architecture} with {options} for inputs of {shape}: {reason}") from error
        if self.small_stem:
            _shrink_stem(model, self.architecture)
        if not self.zero_init and not next(model.parameters()).is_meta:  # which has no values
            _open_branches(model)
        _fill_caches(model, shape)
        return model

    def starting_weights(self, interface: prunebench.Interface) -> Weights | None:
        if not self.pretrained:
            return None
        found = _pretrained(self.architecture, self.pretrained)
        fresh = _names(found.classifier) if interface.outputs != (found.num_classes,) else ()
        return Weights(file=_cached(found), fresh=tuple(f"^{re.escape(name)}\\." for name in fresh))

    def converted(self, tensors: Mapping[str, torch.Tensor], module: nn.Module) -> Mapping[str, torch.Tensor]:
        return _adapted(tensors, module) if self.pretrained else tensors


def _pretrained(architecture: str, tag: bool | str) -> Any:
    """What timm knows of pretrained weights. Raises ValueError for a tag that it does not have."""
    import timm

    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
    if not tags or (tag is not True and tag not in tags):
        named = "" if tag is True else f" called {tag!r}"
        known = f"its tags are {', '.join(tags)}" if tags else "timm has none"
        raise ValueError(f"{architecture!r} has no pretrained weights{named}: {known}")
    return timm.models.get_pretrained_cfg(architecture if tag is True else f"{architecture}.{tag}")


def _cached(found: Any) -> File:
    """The file of pretrained weights in a cache. Raises ValueError, with the places, if it is in none."""
    from huggingface_hub import constants, try_to_load_from_cache

    names = [found.hf_hub_filename] if found.hf_hub_filename else HUB_FILES
    for name in names if found.hf_hub_id else ():
        path = try_to_load_from_cache(found.hf_hub_id, name)
        if isinstance(path, str):
            return File.at(path)
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    if found.url and not found.custom_load and (folder / Path(found.url).name).is_file():
        return File.at(str(folder / Path(found.url).name))
    name = f"{found.architecture}.{found.tag}"
    raise ValueError(
        f"the pretrained weights of timm/{name} are neither in {constants.HF_HUB_CACHE} nor in {folder}, and nothing "
        f"is downloaded: timm.create_model({name!r}, pretrained=True) in Python fetches them"
    )


def _adapted(tensors: Mapping[str, torch.Tensor], module: nn.Module) -> dict[str, torch.Tensor]:
    """Pretrained weights by the names of today's network, and for its number of channels and of positions."""
    from timm.models import adapt_input_conv

    adapt = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    found: dict[str, torch.Tensor] = dict(adapt(dict(tensors), module) if adapt else tensors)
    config: Any = module.pretrained_cfg
    shapes = {name: tuple(value.shape) for name, value in module.named_parameters()}
    for name in (f"{one}.weight" for one in _names(config.get("first_conv"))):
        value, channels = found.get(name), shapes.get(name, (0, 0))[1]
        if value is not None and value.dim() == 4 and value.shape[1] == 3 != channels:
            found[name] = adapt_input_conv(channels, value)
    return found


def _names(given: object) -> tuple[str, ...]:
    """The names of layers, of which timm writes one as a text and several as a tuple."""
    return (given,) if isinstance(given, str) else tuple(given) if isinstance(given, (list, tuple)) else ()


@torch.no_grad()
def _open_branches(model: nn.Module) -> None:
    """Let every branch carry signal and gradient from the first step on: its factor is 1, and its weights are drawn."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if name in GATES and _is_closed(module, parameter):
                nn.init.ones_(parameter)
        if isinstance(module, (nn.Conv2d, nn.Linear)) and not bool(module.weight.any()):
            nn.init.trunc_normal_(module.weight, std=0.02)  # as timm's vision transformers draw theirs


@torch.no_grad()
def _fill_caches(model: nn.Module, shape: tuple[int, ...]) -> None:
    """Let a network compute now what it would keep from its first pass on, as ConViT does its relative positions.

    Only buffers that timm stores with no network (`persistent=False`) are such caches.
    """
    if not any(module._non_persistent_buffers_set for module in model.modules()):
        return
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[]), contextlib.suppress(Exception):  # planning reports a pass that fails
        model.eval()(torch.zeros(1, *shape, device=device))
    model.train()


def _is_closed(module: nn.Module, factor: nn.Parameter) -> bool:
    """Whether a factor multiplies what a module gives by (nearly) 0."""
    if isinstance(module, (nn.Conv2d, nn.Linear)) and factor is module.weight:
        return False
    if "ResponseNorm" in type(module).__name__:  # it adds to what it is given
        return False
    first = factor.flatten()[:1]
    return factor.numel() == max(factor.shape, default=1) and bool((factor == first).all() and first.abs() <= SMALL)


def _shrink_stem(model: Any, architecture: str) -> None:
    """Make the first convolution 3x3 without a stride, and take out the pooling that follows it."""
    name = model.pretrained_cfg.get("first_conv")
    first = model.get_submodule(name) if isinstance(name, str) else None
    if not isinstance(first, nn.Conv2d) or first.stride == (1, 1):
        raise PrunebenchError(f"timm/{architecture} has no strided convolution to begin with: leave out small_stem")
    if first.stride == first.kernel_size:
        raise PrunebenchError(f"timm/{architecture} begins with patches: give a small patch_size, and no small_stem")
    if first.kernel_size == (3, 3):
        first.stride = (1, 1)
    else:
        smaller = nn.Conv2d(first.in_channels, first.out_channels, 3, padding=1, bias=first.bias is not None)
        nn.init.kaiming_normal_(smaller.weight, mode="fan_out", nonlinearity="relu")  # as timm's ResNets do
        model.set_submodule(name, smaller)
    for name, layer in list(model.named_modules()):
        if name in POOLINGS and isinstance(layer, (nn.MaxPool2d, nn.Sequential)):
            model.set_submodule(name, nn.Identity())


@prunebench.hookimpl
def register_models() -> list[type[prunebench.Model]]:
    return [Timm]
