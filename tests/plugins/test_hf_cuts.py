"""Heads and hidden units are removed from networks of transformers; each equals the whole one with zeros."""

import pytest

from prunebench import Input, Interface
from prunebench.api.errors import PrunebenchError
from prunebench.network import groups
from prunebench.network.block_groups import find_blocks
from prunebench.network.cut_checks import difference, drawn_examples
from prunebench.network.cuts import cut_out
from prunebench.network.groups import cut_of
from prunebench.network.modules import build
from prunebench.suite.checking import exact
from tests.network.cut_networks import assert_cut_equals_masked, found_in, halved
from tests.plugins import hf_folders

pytest.importorskip("transformers")

LENGTH, VOCABULARY = 10, 50
IDS, MASK = (
    Input((LENGTH,), "tokens", size, name) for size, name in ((VOCABULARY, "input_ids"), (2, "attention_mask"))
)
INTERFACES = {
    "classes": Interface((IDS, MASK), (3,)),
    "answer": Interface((IDS, MASK), (2, LENGTH)),
    "tokens": Interface((Input((LENGTH,), "text", VOCABULARY),), (LENGTH, VOCABULARY)),
}
GROUPED = {"num_attention_heads": 4, "num_key_value_heads": 2}


@pytest.fixture
def network(registry, tmp_path):
    """Builds a tiny network; returns it with its interface and the names of its prunable weights."""

    def make(kind, head, **changes):
        hf_folders.write(tmp_path, kind, head, **({"num_labels": 3} if head == "classes" else {}), **changes)
        model = exact(registry.find("model", "hf")[0], {"folder": str(tmp_path)})
        module = build(model, INTERFACES[head])
        return module, INTERFACES[head].inputs, model.prunable(module)

    return make


@pytest.mark.parametrize(
    ("kind", "head", "changes", "heads"),
    [
        ("bert", "classes", {}, 2),
        ("bert", "answer", {}, 2),
        ("roberta", "classes", {}, 2),
        ("distilbert", "answer", {}, 2),
        ("gpt2", "tokens", {}, 2),
        ("opt", "tokens", {}, 2),
        ("llama", "tokens", {"num_attention_heads": 2, "num_key_value_heads": 2}, 2),
        ("llama", "tokens", GROUPED, 2),
        ("llama", "classes", {**GROUPED, "attention_bias": True, "mlp_bias": True}, 2),
        ("qwen3", "tokens", {**GROUPED, "head_dim": 4}, 2),
    ],
)
def test_a_cut_network_equals_the_masked_one(network, kind, head, changes, heads):
    module, inputs, prunable = network(kind, head, **changes)
    found, _ = assert_cut_equals_masked(module, inputs, prunable)
    assert [(group.kind, group.size) for group in found] == [("heads", heads), ("channels", found[1].size)] * 2


def test_a_gated_layer_loses_a_unit_in_all_three_of_its_weights(network):
    found = found_in(*network("llama", "tokens")).found
    assert [(part.tensor.split(".")[-2], part.dim, part.role) for part in found[0].parts] == [
        ("gate_proj", 0, "output"),
        ("up_proj", 0, "output"),
        ("down_proj", 1, "input"),
    ]


def test_keys_and_values_go_with_all_queries_that_read_them(network):
    module, inputs, prunable = network("llama", "tokens", **GROUPED)
    found = found_in(module, inputs, prunable).found
    indices = {part.tensor.split(".")[-2]: part.indices for part in found[0].parts}
    assert indices["q_proj"] == indices["o_proj"] == (tuple(range(8)), tuple(range(8, 16)))
    assert indices["k_proj"] == indices["v_proj"] == ((0, 1, 2, 3), (4, 5, 6, 7))
    smaller = cut_out(module, cut_of(found, halved(found), module))
    assert smaller.get_submodule("model.layers.1.self_attn.q_proj").weight.shape == (8, 16)
    assert smaller.get_submodule("model.layers.1.self_attn.k_proj").weight.shape == (4, 16)


def test_a_single_head_of_keys_and_values_stays(network):
    found = found_in(*network("llama", "tokens"))
    assert {group.kind for group in found.found} == {"channels"}


def test_heads_of_a_layer_that_the_task_keeps_stay(network):
    module, inputs, prunable = network("llama", "tokens", **GROUPED)
    found = found_in(module, inputs, [name for name in prunable if "layers.0.self_attn.k_proj" not in name])
    assert [group.name for group in found.found if group.kind == "heads"] == ["model.layers.1.self_attn.q_proj.weight"]
    reason = "the task or the method keeps the outputs of 'model.layers.0.self_attn.k_proj.weight'"
    assert found.left_out["model.layers.0.self_attn.q_proj.weight"] == reason


def test_heads_whose_layout_is_not_known_are_left_out_by_name(network):
    found = found_in(*network("gpt_neox", "tokens"))
    assert {group.kind for group in found.found} == {"channels"}
    assert "gpt_neox.layers.1.attention.query_key_value.weight" in found.left_out


def test_a_network_that_is_followed_without_end_is_refused_in_a_sentence(network, monkeypatch):
    """Rotated queries add up two places of a head, which the dependency graph follows in ever longer lists."""
    monkeypatch.setattr(groups, "find_attention", lambda *_: ())
    with pytest.raises(PrunebenchError, match=r"^Torch-Pruning cannot follow the network: .* has no end$"):
        found_in(*network("llama", "tokens"))


@pytest.mark.parametrize(("kind", "head"), [("llama", "tokens"), ("gpt2", "classes"), ("opt", "tokens")])
def test_whole_blocks_are_removed(network, kind, head):
    module, inputs, prunable = network(kind, head, num_hidden_layers=3)
    found = find_blocks(module, inputs, prunable)
    assert [group.size for group in found.found] == [3]
    cut = cut_of(found.found, {found.found[0].name: [1]}, module)
    assert difference(module, cut, drawn_examples(inputs))[0] < 1e-5


def test_blocks_that_normalize_what_they_add_up_stay(network):
    module, inputs, prunable = network("bert", "classes")
    found = find_blocks(module, inputs, prunable)
    assert found.found == ()
    assert set(found.left_out) == {"bert.encoder.layer.0", "bert.encoder.layer.1"}
