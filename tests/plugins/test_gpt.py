"""The small transformer: what it computes, what may be pruned, and what it costs."""

import pytest
import torch

from prunebench import Interface
from prunebench.api.components import Input
from prunebench.api.tasks import Prunable
from prunebench.network.cuts import NOTHING
from prunebench.network.description import _describe
from prunebench.network.modules import build
from prunebench.network.profiles import profile

LENGTH, VOCABULARY, WIDTH, DEPTH = 10, 17, 8, 3
TOKENS = Input((LENGTH,), "text", VOCABULARY)
LANGUAGE = Interface((TOKENS,), (LENGTH, VOCABULARY))
CLASSES = Interface((Input((LENGTH,), "tokens", VOCABULARY),), (4,))


@pytest.fixture(scope="module")
def gpt(built_in):
    return lambda **changes: built_in("model", "gpt", **{"width": WIDTH, "depth": DEPTH, "heads": 2, **changes})


@pytest.fixture
def module(gpt):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = build(gpt(), LANGUAGE).eval()
        for parameter in module.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape)
        return module


def test_a_position_sees_itself_and_what_comes_before_it(module):
    tokens = torch.arange(LENGTH)[None] % VOCABULARY
    before = module(tokens)
    for place in range(LENGTH):
        changed = tokens.clone()
        changed[0, place] = 16
        moved = (module(changed) - before).abs().amax(2)[0] > 1e-6
        assert not moved[:place].any()
        assert moved[place:].all()


def test_the_output_layer_is_the_embedding(module):
    assert module.head.weight is module.embedding.weight
    assert "head.weight" not in dict(module.named_parameters())


def test_a_vector_of_outputs_sees_all_but_padding(gpt):
    module = build(gpt(), CLASSES).eval()
    tokens = torch.tensor([[3, 4, 5, 0, 0, 0, 0, 0, 0, 0]])
    hidden = {}
    module.norm.register_forward_hook(lambda *call: hidden.update(out=call[2]))
    outputs = module(tokens)
    assert outputs.shape == (1, 4)
    assert torch.allclose(outputs, module.head(hidden["out"][:, :3].mean(1)), atol=1e-6)
    assert module(torch.zeros(1, LENGTH, dtype=torch.int64)).isfinite().all()


def test_what_is_added_to_the_residual_stream_begins_small(gpt):
    module = build(gpt(width=64, depth=8), LANGUAGE)
    for block in module.blocks:
        assert block.out.weight.std().item() == pytest.approx(0.02 / 4, rel=0.1)
        assert block.down.weight.std().item() == pytest.approx(0.02 / 4, rel=0.1)
        assert block.qkv.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert not block.qkv.bias.any()
    assert module.embedding.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert module.positions.std().item() == pytest.approx(0.02, rel=0.1)


def test_only_the_linear_layers_of_the_blocks_may_be_pruned(gpt):
    model = gpt()
    found = profile(model, LANGUAGE).prunable
    parts = ("qkv", "out", "up", "down")
    assert found == tuple(f"blocks.{block}.{part}.weight" for block in range(DEPTH) for part in parts)
    assert len(list(model.prunable(build(model, CLASSES)))) == 4 * DEPTH


def test_flops_are_those_that_are_worked_out_by_hand(gpt):
    network = _describe(gpt(), LANGUAGE, Prunable(), NOTHING)
    linear = {"qkv": 3 * WIDTH * WIDTH, "out": WIDTH * WIDTH, "up": 4 * WIDTH * WIDTH, "down": 4 * WIDTH * WIDTH}
    by_part = {part: 2 * LENGTH * size for part, size in linear.items()}
    assert {layer.name.split(".")[2]: layer.flops for layer in network.layers} == by_part
    attention = 2 * (2 * LENGTH * LENGTH * WIDTH)  # queries by keys, and shares by values
    head = 2 * LENGTH * WIDTH * VOCABULARY  # the embedding itself multiplies nothing
    assert network.flops == DEPTH * (sum(by_part.values()) + attention) + head
    assert network.size == DEPTH * 12 * WIDTH * WIDTH
    norms = (2 * DEPTH + 1) * 2 * WIDTH
    biases = DEPTH * (3 + 1 + 4 + 1) * WIDTH
    assert network.parameters == network.size + norms + biases + (VOCABULARY + LENGTH) * WIDTH


def test_a_pruned_block_costs_attention_alone(gpt):
    network = _describe(gpt(), LANGUAGE, Prunable(), NOTHING)
    left = network.flops_at({layer.name: 0 for layer in network.layers})
    assert left == DEPTH * 4 * LENGTH * LENGTH * WIDTH + 2 * LENGTH * WIDTH * VOCABULARY


@pytest.mark.parametrize(
    ("interface", "message"),
    [
        (Interface.of_images((1, 8, 8), 10), "takes one sequence of tokens"),
        (Interface((TOKENS, TOKENS), (4,)), "takes one sequence of tokens"),
        (Interface((TOKENS,), (LENGTH, 3)), "17 logits for each position or one vector"),
    ],
)
def test_what_it_is_not_made_for_is_refused(gpt, interface, message):
    with pytest.raises(ValueError, match=message):
        build(gpt(), interface)


def test_a_width_that_does_not_fit_the_heads_is_refused(gpt):
    with pytest.raises(ValueError, match="8 is not a multiple of 3 heads"):
        gpt(heads=3)
