"""What passes through strangers' networks show: FLOPs by weight, filled zeros, outputs that do not fit; by hand."""

import re
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.utils.flop_counter import FlopCounterMode

import prunebench
from prunebench.api.components import Interface
from prunebench.api.errors import PrunebenchError
from prunebench.api.tasks import Prunable
from prunebench.api.weights import prunable_by_default
from prunebench.cli.plan import _share
from prunebench.network.description import describe
from prunebench.network.profiles import profile

CLASSES, INPUTS = 3, 36


class Net(nn.Module):
    """A module whose forward pass is a function."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, inputs):
        return self.function(self, inputs)


class Built(prunebench.Model):
    """Builds what a function returns, and may say what of it is prunable."""

    name = "built"

    of: object
    names: tuple[str, ...] = ()

    def build(self, shape, classes):
        return self.of()

    def prunable(self, module):
        return self.names or super().prunable(module)


def described(tiny, of, names=(), **prunable):
    return describe(tiny.task(Built(of=of, names=names), prunable=Prunable(**prunable)))


def flops(network):
    return {layer.name: layer.flops for layer in network.layers}


def out(width):
    return nn.Linear(width, CLASSES)


def tied():
    net = Net(
        lambda s, x: s.out(s.b(s.a(s.inp(x.flatten(1)).relu()).relu())),
        inp=nn.Linear(INPUTS, 8), a=nn.Linear(8, 8), b=nn.Linear(8, 8), out=out(8),
    )  # fmt: skip
    net.b.weight = net.a.weight
    return net


def looped():
    def forward(s, x):
        x = s.inp(x.flatten(1))
        for _ in range(5):
            x = s.body(x).relu()
        return s.out(x)

    return Net(forward, inp=nn.Linear(INPUTS, 8), body=nn.Linear(8, 8), out=out(8))


def functional():
    return Net(lambda s, x: s.out(F.linear(x.flatten(1), s.a.weight)), a=nn.Linear(INPUTS, 8), out=out(8))


def transposed():
    return Net(
        lambda s, x: s.out(F.linear(F.linear(x.flatten(1), s.a.weight), s.a.weight.t())),
        a=nn.Linear(INPUTS, 8), out=out(INPUTS),
    )  # fmt: skip


def sliced():
    def forward(s, x):
        x = x.flatten(1)
        return s.out(torch.cat([F.linear(x, s.a.weight[:6]), torch.einsum("bi,oi->bo", x, s.a.weight[6:])], 1))

    return Net(forward, a=nn.Linear(INPUTS, 8), out=out(8))


def concatenated():
    return Net(
        lambda s, x: s.out(F.linear(x.flatten(1), torch.cat([s.a.weight, 2 * s.b.weight]))),
        a=nn.Linear(INPUTS, 2), b=nn.Linear(INPUTS, 6), out=out(8),
    )  # fmt: skip


def listed():
    weights = nn.ParameterList([torch.randn(INPUTS, 8), torch.randn(8, 4)])
    return Net(lambda s, x: s.out(x.flatten(1) @ s.ps[0] @ s.ps[1]), ps=weights, out=out(4))


def attention(**options):
    def forward(s, x):
        tokens = s.inp(x.flatten(1, 2))
        return s.out(s.attn(tokens, tokens, tokens, **options)[0].mean(1))

    return Net(forward, inp=nn.Linear(6, 8), attn=nn.MultiheadAttention(8, 2, batch_first=True), out=out(8))


def recurrent(kind=nn.LSTM):
    return Net(lambda s, x: s.out(s.rnn(x.flatten(1, 2))[0][:, -1]), rnn=kind(6, 4, batch_first=True), out=out(4))


def modulated():
    """The input scales the weight, which is one convolution's for each example."""

    def forward(s, x):
        scaled = (s.w.weight[None] * s.style(x.flatten(1)).view(-1, 1, 2, 1, 1)).reshape(-1, 2, 3, 3)
        pictures = s.inp(x).reshape(1, -1, 6, 6)
        return s.out(F.conv2d(pictures, scaled, groups=len(x)).reshape(len(x), 4, -1).mean(2))

    parts = {"inp": nn.Conv2d(1, 2, 1), "w": nn.Conv2d(2, 4, 3), "style": nn.Linear(INPUTS, 2)}
    return Net(forward, **parts, out=out(4))


def weight_norm():
    return nn.Sequential(nn.Flatten(), parametrizations.weight_norm(nn.Linear(INPUTS, 8)), out(8))


def old_weight_norm():
    return nn.Sequential(nn.Flatten(), nn.utils.weight_norm(nn.Linear(INPUTS, 8)), out(8))


def spectral_norm():
    return nn.Sequential(nn.Flatten(), parametrizations.spectral_norm(nn.Linear(INPUTS, 8)), out(8))


HEAD = 2.0 * 8 * CLASSES
HAND_COUNTED = {
    tied: {"inp.weight": 2.0 * INPUTS * 8, "a.weight": 2 * 2.0 * 64, "out.weight": HEAD},
    looped: {"inp.weight": 2.0 * INPUTS * 8, "body.weight": 5 * 2.0 * 64, "out.weight": HEAD},
    functional: {"a.weight": 2.0 * INPUTS * 8, "out.weight": HEAD},
    transposed: {"a.weight": 2 * 2.0 * INPUTS * 8, "out.weight": 2.0 * INPUTS * CLASSES},
    sliced: {"a.weight": 2.0 * INPUTS * 8, "out.weight": HEAD},
    concatenated: {"a.weight": 2.0 * INPUTS * 2, "b.weight": 2.0 * INPUTS * 6, "out.weight": HEAD},
    attention: {
        "inp.weight": 6 * 2.0 * 6 * 8,
        "attn.in_proj_weight": 6 * 2.0 * 8 * 24,
        "attn.out_proj.weight": 6 * 2.0 * 64,
        "out.weight": HEAD,
    },
    recurrent: {"rnn.weight_ih_l0": 6 * 2.0 * 6 * 16, "rnn.weight_hh_l0": 6 * 2.0 * 4 * 16, "out.weight": HEAD / 2},
    modulated: {
        "inp.weight": 36 * 2.0 * 2,
        "w.weight": 16 * 2.0 * 72,
        "style.weight": 2.0 * INPUTS * 2,
        "out.weight": HEAD / 2,
    },
    weight_norm: {"1.parametrizations.weight.original1": 2.0 * INPUTS * 8, "2.weight": HEAD},
    old_weight_norm: {"1.weight_v": 2.0 * INPUTS * 8, "2.weight": HEAD},
    spectral_norm: {"1.parametrizations.weight.original": 2.0 * INPUTS * 8, "2.weight": HEAD},
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("of", HAND_COUNTED, ids=lambda of: of.__name__)
def test_flops_belong_to_the_weights_that_are_multiplied(tiny, of):
    network = described(tiny, of)
    assert flops(network) == HAND_COUNTED[of]
    assert all(layer.used for layer in network.layers)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        of().eval()(torch.empty(1, 1, 6, 6))
    assert network.flops == counter.get_total_flops()


def test_attention_counts_the_same_where_its_weights_are_asked_for(tiny):
    expected = HAND_COUNTED[attention]
    assert flops(described(tiny, lambda: attention(need_weights=False))) == expected


def test_weights_of_a_list_and_of_a_gru_can_be_pruned(tiny):
    named = described(tiny, listed, ("ps.0", "ps.1", "out.weight"))
    assert flops(named) == {"ps.0": 2.0 * INPUTS * 8, "ps.1": 2.0 * 8 * 4, "out.weight": 2.0 * 4 * CLASSES}
    gru = flops(described(tiny, lambda: recurrent(nn.GRU)))
    assert gru["rnn.weight_hh_l0"] == 6 * 2.0 * 4 * 12


def test_a_tied_weight_is_left_alone_by_any_of_its_names(tiny):
    assert set(flops(described(tiny, tied, exclude=("^b\\.",)))) == {"inp.weight", "out.weight"}


def test_a_head_that_is_tied_to_an_embedding_is_one_weight(tiny):
    def forward(s, x):
        return F.linear(s.body(s.words((x[:, 0] > 0).long().sum(-1))).mean(1), s.head.weight)

    def of():
        net = Net(forward, words=nn.Embedding(CLASSES, 8), body=nn.Linear(8, 8), head=nn.Linear(8, CLASSES))
        net.head.weight = net.words.weight
        return net

    network = described(tiny, lambda: of())
    assert flops(network) == {"body.weight": 6 * 2.0 * 64, "words.weight": 2.0 * 8 * CLASSES}
    assert network.output == "words.weight"


def test_a_parametrized_weight_is_named_as_the_layer_calls_it(tiny):
    assert list(flops(described(tiny, weight_norm, ("1.weight",)))) == ["1.parametrizations.weight.original1"]


def test_large_matrices_that_are_not_prunable_are_named(tiny):
    network = described(tiny, listed)
    assert [layer.name for layer in network.left_out] == ["ps.0", "ps.1"]
    assert network.prunable_flops == 2.0 * 4 * CLASSES


def test_a_plan_says_what_is_prunable_and_what_is_left_out(tiny):
    total = 36 * 8 + 8 * 4 + 4 * CLASSES + CLASSES
    assert _share("t", described(tiny, listed)) == (
        f"t: 12 weights, {12 / total:.1%} of all parameters and {12 / (total - CLASSES):.1%} of the FLOPs; "
        "not prunable: ps.0, ps.1"
    )


class Standardized(nn.Linear):
    def forward(self, inputs):
        weight = self.weight - self.weight.mean(1, keepdim=True)
        return F.linear(inputs, weight / weight.std(1, keepdim=True), self.bias)


class Parametrized(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, weight):
        return self.function(weight)


def parametrized(function, inputs=INPUTS):
    layer = nn.Linear(inputs, 8)
    parametrize.register_parametrization(layer, "weight", Parametrized(function))
    return nn.Sequential(nn.Flatten(), nn.Linear(INPUTS, inputs), layer, out(8))


def symmetric(weight):
    return weight.triu() + weight.triu(1).t()


def rotated():
    def forward(s, x):
        return s.out(F.linear(x.flatten(1), s.a.weight @ s.mixing))

    return Net(forward, a=nn.Linear(INPUTS, 8), mixing=nn.Parameter(torch.randn(INPUTS, INPUTS)), out=out(8))


def centered_in_place():
    def forward(s, x):
        with torch.no_grad():
            s.a.weight.sub_(s.a.weight.mean())
        return s.out(s.a(x.flatten(1)))

    return Net(forward, a=nn.Linear(INPUTS, 8), out=out(8))


def noisy_in_training():
    def forward(s, x):
        noise = 0.01 * torch.randn_like(s.a.weight) if s.training else 0.0
        return s.out(F.linear(x.flatten(1), s.a.weight + noise))

    return Net(forward, a=nn.Linear(INPUTS, 8), out=out(8))


def hooked(change):
    """A layer whose weight is changed after each multiplication."""

    def hook(layer, inputs, output):
        change(layer)

    net = nn.Sequential(nn.Flatten(), nn.Linear(INPUTS, 8), out(8))
    net[1].register_forward_hook(hook)
    return net


@torch.no_grad()
def shifted(layer):
    layer.weight.add_(0.01)


FILLING = {
    "standardized": lambda: nn.Sequential(nn.Flatten(), Standardized(INPUTS, 8), out(8)),
    "softmax": lambda: parametrized(lambda weight: weight.softmax(1)),
    "0 / 0 of an output without weights": lambda: parametrized(
        lambda weight: weight / weight.norm(dim=1, keepdim=True)
    ),
    "symmetric": lambda: parametrized(symmetric, 8),
    "orthogonal": lambda: nn.Sequential(nn.Flatten(), parametrizations.orthogonal(nn.Linear(INPUTS, 8)), out(8)),
    "rotated": rotated,
    "in place": centered_in_place,
    "in training only": noisy_in_training,
    "after the multiplication": lambda: hooked(shifted),
    "after the multiplication, in training only": lambda: hooked(lambda layer: layer.training and shifted(layer)),
}


@pytest.mark.parametrize("of", FILLING.values(), ids=FILLING)
def test_a_weight_whose_zeros_are_filled_before_the_multiplication_is_refused_by_name(tiny, of):
    with pytest.raises(
        PrunebenchError, match=r"model 'built' transforms '.*' before it multiplies.*exclude"
    ) as refusal:
        described(tiny, of)
    named = re.findall("'([^']+)'", str(refusal.value).partition("transforms")[2].partition("before")[0])
    left = flops(described(tiny, of, exclude=tuple(f"^{re.escape(name)}$" for name in named)))
    assert list(left)[-1] in ("2.weight", "3.weight", "out.weight")


def test_a_layer_that_bounds_its_weights_or_drops_some_in_training_is_none_to_refuse(tiny):
    @torch.no_grad()
    def bound(layer):
        layer.weight.copy_(torch.renorm(layer.weight, 2, 0, 1.0))

    assert flops(described(tiny, lambda: hooked(bound)))["1.weight"] == 2.0 * INPUTS * 8
    dropped = Net(
        lambda s, x: s.out(F.linear(x.flatten(1), F.dropout(s.a.weight, 0.5, s.training))),
        a=nn.Linear(INPUTS, 8),
        out=out(8),
    )
    assert flops(described(tiny, lambda: dropped))["a.weight"] == 2.0 * INPUTS * 8


KEEPING = {
    "scaled": lambda weight: 0.5 * weight,
    "clamped": lambda weight: weight.clamp(-1, 1),
    "normalized": lambda weight: F.normalize(weight, dim=1),
    "quantized": lambda weight: torch.fake_quantize_per_tensor_affine(weight, 0.01, 0, -128, 127),
    "signs, straight through": lambda weight: weight + (weight.sign() - weight).detach(),
}


@pytest.mark.parametrize("function", KEEPING.values(), ids=KEEPING)
def test_a_transformation_that_keeps_zeros_is_none_to_refuse(tiny, function):
    found = flops(described(tiny, lambda: parametrized(function)))
    assert found["2.parametrizations.weight.original"] == 2.0 * INPUTS * 8


def test_a_query_that_is_learnt_is_no_transformed_weight(tiny):
    def forward(s, x):
        tokens = s.inp(x.flatten(1, 2))
        mixed = torch.einsum("ld,bnd->bln", s.query(s.latents), tokens).softmax(-1) @ tokens
        return s.out(mixed.mean(1))

    def of():
        latents = nn.Parameter(torch.randn(8, 8))
        return Net(forward, inp=nn.Linear(6, 8), query=nn.Linear(8, 8), latents=latents, out=out(8))

    assert flops(described(tiny, of))["query.weight"] == 8 * 2.0 * 64


def test_a_prunable_weight_that_is_used_without_flops_is_an_error(tiny):
    def of():
        return Net(lambda s, x: s.out(s.b(x.flatten(1), x.flatten(1))), b=nn.Bilinear(INPUTS, INPUTS, 8), out=out(8))

    with pytest.raises(PrunebenchError, match=r"uses 'b.weight' in operations whose FLOPs are unknown"):
        described(tiny, of, ("b.weight", "out.weight"))
    assert list(flops(described(tiny, of))) == ["out.weight"]


def test_whether_a_weight_is_used_is_known(tiny):
    def of():
        return Net(lambda s, x: s.out(x.flatten(1)), idle=nn.Linear(2, 2), out=out(INPUTS))

    used = {layer.name: layer.used for layer in described(tiny, of).layers}
    assert used == {"idle.weight": False, "out.weight": True}


UNFIT = {
    "tuple": (lambda s, x: (s.out(x.flatten(1)), x), "evaluation mode a tuple of 2: return the outputs alone"),
    "dict": (lambda s, x: {"logits": s.out(x.flatten(1))}, "evaluation mode a dict with 'logits'"),
    "training": (lambda s, x: [s.out(x.flatten(1))][: s.training] or s.out(x.flatten(1)), "training mode a list of 1"),
    "few": (lambda s, x: s.out(x.flatten(1))[:, :2], r"here \(1, 3\), and returns .* a tensor of shape \(1, 2\)"),
    "squeezed": (lambda s, x: s.out(x.flatten(1)).squeeze(0), r"a tensor of shape \(3,\)"),
    "batch last": (lambda s, x: s.out(x.flatten(1)).t(), r"a tensor of shape \(3, 1\)"),
    "merged": (lambda s, x: s.out(x.view(-1, INPUTS)[:1]), r"here \(2, 3\), and returns in training mode .*\(1, 3\)"),
    "labels": (lambda s, x: s.out(x.flatten(1)).long(), "type int64"),
    "nothing": (lambda s, x: None, "evaluation mode None"),
}


@pytest.mark.parametrize(("forward", "message"), UNFIT.values(), ids=UNFIT)
def test_an_output_that_does_not_fit_is_found_in_the_plan(tiny, forward, message):
    with pytest.raises(PrunebenchError, match=f"model 'built' must return a tensor of shape .*{message}"):
        described(tiny, lambda: Net(forward, out=out(INPUTS)))


def test_lazy_layers_are_found_in_the_plan(tiny):
    with pytest.raises(PrunebenchError, match=r"lazy layers, whose weights have no shape .*'1.weight'"):
        described(tiny, lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(CLASSES)))


def test_names_that_are_none_are_corrected(tiny):
    with pytest.raises(
        PrunebenchError, match=r"names '1.wieght', which is not one of its parameters; did you mean '1.weight'"
    ):
        described(tiny, lambda: nn.Sequential(nn.Flatten(), out(INPUTS)), ("1.wieght",))
    with pytest.raises(PrunebenchError, match=r"must return a torch\.nn\.Module"):
        described(tiny, lambda: "no module")


def test_a_pass_that_looks_at_values_is_made_for_real(tiny):
    def forward(s, x):
        hidden = s.norm(s.a(x.flatten(1)))
        kept = (hidden > -1e9).nonzero()
        hidden = hidden[kept[:, 0], kept[:, 1]].view(len(x), -1)
        return s.out(hidden * 2 if hidden.sum().item() > 0 else hidden)

    def of():
        return Net(forward, a=nn.Linear(INPUTS, 8), norm=nn.BatchNorm1d(8), out=out(8))

    before = torch.get_rng_state()
    assert flops(described(tiny, of)) == {"a.weight": 2.0 * INPUTS * 8, "out.weight": HEAD}
    assert torch.equal(before, torch.get_rng_state())


def test_a_model_is_profiled_once_however_many_tasks_have_it(tiny):
    built = []

    def of():
        built.append(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(INPUTS, 8), out(8))

    model = Built(of=of)
    for prunable in (Prunable(), Prunable(first=False), Prunable(last=False)):
        describe(tiny.task(model, prunable=prunable))
    assert profile(model, Interface.of_images((1, 6, 6), CLASSES)).prunable == ("1.weight", "2.weight")
    assert built == [1]


def test_a_module_that_is_one_layer_has_a_weight_without_a_path():
    assert prunable_by_default(nn.Conv2d(1, 2, 3)) == ["weight"]
    assert prunable_by_default(parametrizations.weight_norm(nn.Linear(2, 3))) == ["parametrizations.weight.original1"]


def built_in_forward():
    def forward(s, x):
        if not hasattr(s, "late"):
            s.late = nn.Linear(8, 8)
        return s.out(s.late(s.a(x.flatten(1))))

    return Net(forward, a=nn.Linear(INPUTS, 8), out=out(8))


def replaced_in_forward():
    def forward(s, x):
        s.a.weight = nn.Parameter(s.a.weight.detach().clone())
        return s.out(s.a(x.flatten(1)))

    return Net(forward, a=nn.Linear(INPUTS, 8), out=out(8))


def buffered_in_forward():
    def forward(s, x):
        if not hasattr(s, "table"):
            s.register_buffer("table", torch.ones(8), persistent=False)
        return s.out(s.a(x.flatten(1)) * s.table)

    return Net(forward, a=nn.Linear(INPUTS, 8), out=out(8))


def growing():
    def forward(s, x):
        if s.training:
            s.seen = torch.cat([s.seen, torch.zeros(1)])
        return s.out(s.a(x.flatten(1)))

    net = Net(forward, a=nn.Linear(INPUTS, 8), out=out(8))
    net.register_buffer("seen", torch.zeros(0))
    return net


@pytest.mark.parametrize(
    ("of", "names"),
    [
        (built_in_forward, "'late.weight', 'late.bias'"),
        (replaced_in_forward, "'a.weight'"),
        (buffered_in_forward, "'table'"),
        (growing, "'seen'"),
    ],
)
def test_parameters_and_buffers_that_a_pass_makes_are_refused_by_name(tiny, of, names):
    told = rf"makes or replaces parameters or buffers in its forward pass \({names}\).* make them in `build`"
    with pytest.raises(PrunebenchError, match=told):
        described(tiny, of)


def in_a_list():
    def forward(s, x):
        for layer in s.layers:
            x = layer(x.flatten(1))
        return s.out(x)

    return Net(forward, layers=[nn.Linear(INPUTS, 8), nn.Linear(8, 8, bias=False)], out=out(8))


def a_plain_tensor():
    return Net(lambda s, x: s.out(x.flatten(1) @ s.w), w=torch.randn(INPUTS, 8).requires_grad_(), out=out(8))


@pytest.mark.parametrize(
    ("of", "shapes"), [(in_a_list, "(8,), (8, 8), (8, 36)"), (a_plain_tensor, "(36, 8)")], ids=["list", "tensor"]
)
def test_parameters_that_the_module_does_not_know_are_refused(tiny, of, shapes):
    told = rf"uses parameters that do not belong to its module, of shape {re.escape(shapes)}, .*ModuleList"
    with pytest.raises(PrunebenchError, match=told):
        described(tiny, of)


def test_a_buffer_that_is_assigned_anew_and_a_cache_that_is_none_are_allowed(tiny):
    def forward(s, x):
        hidden = s.a(x.flatten(1))
        s.cache = torch.ones(8) if s.cache is None else s.cache
        if s.training:
            s.mean = 0.9 * s.mean + 0.1 * hidden.detach().mean(0)
        return s.out((hidden - s.mean) * s.cache)

    def of():
        net = Net(forward, a=nn.Linear(INPUTS, 8), out=out(8), cache=None)
        net.register_buffer("mean", torch.zeros(8))
        return net

    assert list(flops(described(tiny, of))) == ["a.weight", "out.weight"]


def test_a_module_that_cannot_be_copied_is_refused(tiny):
    def of():
        return Net(lambda s, x: s.out(x.flatten(1)), out=out(INPUTS), numbers=(number for number in range(3)))

    with pytest.raises(PrunebenchError, match=r"cannot be copied by copy\.deepcopy: TypeError: .*generator"):
        described(tiny, of)


def test_a_layer_without_inputs_has_no_weight_to_prune(tiny):
    def of():
        def forward(s, x):
            return s.out((s.a(x.flatten(1)) + s.empty(x.flatten(1)[:, :0])).relu())

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that there is nothing to initialize
            empty = nn.Linear(0, 8, bias=False)
        return Net(forward, a=nn.Linear(INPUTS, 8), empty=empty, out=out(8))

    assert flops(described(tiny, of)) == {"a.weight": 2.0 * INPUTS * 8, "out.weight": 2.0 * 8 * CLASSES}
