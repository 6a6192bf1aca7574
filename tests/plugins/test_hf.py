"""Networks of transformers from a local folder: what they compute, and what is refused; nothing is fetched or run."""

import json
import pickle
import shutil
import socket
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

import prunebench
from prunebench import Deploy, Initialize, Input, Interface, Prune, PruneLayerwise, Train
from prunebench.api.errors import WeightsError
from prunebench.execution.job_specs import from_values, to_values
from prunebench.execution.performing import measured
from prunebench.network.description import describe
from prunebench.network.modules import build, copied
from prunebench.network.starting import check_start, start_from
from prunebench.plan.planning import protocol
from prunebench.suite.checking import exact
from tests.plugins import hf_folders

pytest.importorskip("transformers")

LENGTH, VOCABULARY = 10, 50
IDS = Input((LENGTH,), "tokens", VOCABULARY, "input_ids")
MASK = Input((LENGTH,), "tokens", 2, "attention_mask")
KINDS = Input((LENGTH,), "tokens", 2, "token_type_ids")
INTERFACES = {
    "classes": Interface((IDS, MASK), (3,)),
    "answer": Interface((IDS, MASK, KINDS), (2, LENGTH)),
    "tokens": Interface((Input((LENGTH,), "text", VOCABULARY),), (LENGTH, VOCABULARY)),
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*given):
        raise AssertionError(f"asked the network: {given}")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a tiny network and the network, written once for each kind and head."""
    known = {}

    def find(kind="bert", head="classes", **changes):
        key = (kind, head, *sorted(changes.items()))
        if key not in known:
            path = tmp_path_factory.mktemp(f"{kind}-{head}")
            known[key] = path, hf_folders.write(path, kind, head, **changes)
        return known[key]

    return find


@pytest.fixture
def own(folder, tmp_path):
    """A folder to change, of a classifier of three classes."""
    return shutil.copytree(folder(num_labels=3)[0], tmp_path / "own")


@pytest.fixture(scope="module")
def model(registry):
    cls, _ = registry.find("model", "hf")
    return lambda path, **parameters: exact(cls, {"folder": str(path), **parameters})


def started(model, interface):
    """The network with the weights that trials start from, and with dropout off."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = build(model, interface)
    start_from(model.starting_weights(interface), module, model)
    return module.eval()


def refused(model, path, interface=INTERFACES["classes"], **parameters):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (pydantic's is one)
        model(path, **parameters).starting_weights(interface)
    errors = getattr(caught.value, "errors", None)
    message = str(errors()[0]["ctx"]["error"]) if callable(errors) else str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


def batch():
    drawn = torch.Generator().manual_seed(0)
    ids = torch.randint(3, VOCABULARY, (4, LENGTH), generator=drawn)
    mask = (torch.arange(LENGTH) < torch.tensor([10, 7, 4, 1])[:, None]).long()
    return ids, mask


# --- what is computed


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "gpt2", "llama"])
def test_classes_are_those_that_transformers_computes_whatever_token_pads(folder, model, kind):
    path, source = folder(kind, num_labels=3)
    ids, mask = batch()
    padding = 0 if source.config.pad_token_id is None else source.config.pad_token_id
    source.config.pad_token_id = padding
    with torch.no_grad():
        expected = source(input_ids=torch.where(mask > 0, ids, padding), attention_mask=mask).logits
        found = started(model(path), INTERFACES["classes"])({"input_ids": ids * mask, "attention_mask": mask})
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_answers_are_the_logits_of_start_and_end(folder, model, kind):
    path, source = folder(kind, "answer")
    ids, mask = batch()
    kinds = (torch.arange(LENGTH) > 3).long().expand(4, LENGTH)
    more = {"token_type_ids": kinds} if kind == "bert" else {}
    with torch.no_grad():
        padded = torch.where(mask > 0, ids, source.config.pad_token_id)
        expected = source(input_ids=padded, attention_mask=mask, **more)
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds}
        found = started(model(path), INTERFACES["answer"])(inputs)
    torch.testing.assert_close(found, torch.stack([expected.start_logits, expected.end_logits], 1))


@pytest.mark.parametrize("kind", ["gpt2", "llama", "opt", "gpt_neox"])
def test_a_language_model_predicts_the_tokens_of_the_data(folder, model, kind):
    path, source = folder(kind, "tokens")
    ids, _ = batch()
    with torch.no_grad():
        expected = source(input_ids=ids).logits[..., :VOCABULARY]
        found = started(model(path), INTERFACES["tokens"])(ids)
    torch.testing.assert_close(found, expected)


def test_an_encoder_that_predicts_tokens_does_not_see_them(folder, model):
    module = started(model(folder("bert", "tokens", is_decoder=True)[0]), INTERFACES["tokens"])
    ids, _ = batch()
    changed = ids.clone()
    changed[:, 6] = 2
    assert torch.equal(module(ids)[:, :6], module(changed)[:, :6])


def test_a_network_that_sees_what_it_predicts_is_refused(folder, model, monkeypatch):
    from transformers import BertLMHeadModel

    whole = BertLMHeadModel.forward
    monkeypatch.setattr(BertLMHeadModel, "forward", lambda self, input_ids: whole(self, input_ids.flip(1)))
    with pytest.raises(ValueError, match="is no language model: what it predicts depends on later tokens"):
        build(model(folder("bert", "tokens", is_decoder=True)[0]), INTERFACES["tokens"])


def test_only_the_linear_layers_of_the_blocks_are_prunable_and_blocks_are_in_order(folder, model):
    for kind, count in {"bert": 12, "gpt2": 8, "llama": 14, "distilbert": 12}.items():
        chosen = model(folder(kind, num_labels=3)[0])
        module = build(chosen, INTERFACES["classes"])
        names, blocks = chosen.prunable(module), chosen.blocks(module)
        assert len(names) == count
        assert [name.rsplit(".", 1)[1] for name in blocks] == ["0", "1"]
        assert all(any(name.startswith(f"{block}.") for block in blocks) for name in names)
        matrices = [name for name, value in module.named_parameters() if value.dim() == 2]
        inside = [name for name in matrices if any(name.startswith(f"{block}.") for block in blocks)]
        assert sorted(names) == sorted(inside)


def test_flops_of_the_blocks_are_those_of_their_matrices(folder, model, tiny):
    task = replace(tiny.task(model(folder(num_labels=3)[0]), Sentences()))
    network = describe(task)
    assert {layer.flops / layer.size for layer in network.layers} == {2 * LENGTH}
    assert network.size == 2 * (4 * 16 * 16 + 2 * 16 * 32)


def test_transposed_layers_of_gpt2_are_torchs_and_a_file_may_have_either_form(folder, model):
    path, source = folder("gpt2", "tokens")
    chosen, interface = model(path), INTERFACES["tokens"]
    module = started(chosen, interface)
    assert torch.equal(module.transformer.h[0].attn.c_proj.weight, source.transformer.h[0].attn.c_proj.weight.T)
    again = chosen.converted({name: value.detach() for name, value in module.state_dict().items()}, module)
    assert torch.equal(again["transformer.h.0.attn.c_proj.weight"], module.transformer.h[0].attn.c_proj.weight)


# --- where weights come from


def test_a_fresh_head_is_drawn_from_the_seed_and_all_else_is_in_the_file(folder, model, tiny, run_stages):
    chosen = model(folder(head="encoder")[0], head="fresh")
    task = replace(tiny.task(chosen, Sentences()))
    task = replace(task, weights=chosen.starting_weights(task.interface))
    one, other = (run_stages(task, seed=seed).end.parameters for seed in (0, 1))
    source = dict(folder(head="encoder")[1].named_parameters())
    for name, value in one.items():
        if name.startswith("bert."):
            assert torch.equal(value, source[name.removeprefix("bert.")])
        elif name.endswith("weight"):
            assert not torch.equal(value, other[name])


def test_a_fresh_head_ignores_the_one_in_the_file_and_draws_a_missing_pooling_layer(folder, model):
    classes, source = folder(num_labels=7)
    module = started(model(classes, head="fresh"), INTERFACES["classes"])  # of three classes
    assert torch.equal(module.bert.pooler.dense.weight, source.bert.pooler.dense.weight)
    answers, source = folder(head="answer")  # has no pooling layer
    weights = model(answers, head="fresh").starting_weights(INTERFACES["classes"])
    assert weights.fresh == (r"^(?!bert\.)", r"^bert\.pooler\.")
    module = started(model(answers, head="fresh"), INTERFACES["classes"])
    assert torch.equal(module.bert.embeddings.word_embeddings.weight, source.bert.embeddings.word_embeddings.weight)
    started(model(classes, head="fresh"), INTERFACES["answer"])  # which has no pooling layer, and the file does


def test_a_missing_head_is_named_with_what_declares_it(folder, model):
    found = refused(model, folder(head="encoder")[0])
    assert found.endswith("has no head for this objective (classifier.weight, classifier.bias): "
                          "`head: fresh` begins with a random one")  # fmt: skip


def test_older_names_and_computed_buffers_are_understood(folder, model, own):
    _, source = folder(num_labels=3)
    tensors = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
               for name, value in source.state_dict().items()}  # fmt: skip
    tensors["bert.embeddings.position_ids"] = torch.arange(32)[None]
    safetensors.torch.save_file(tensors, own / "model.safetensors")
    module = started(model(own), INTERFACES["classes"])
    assert all(torch.equal(value, source.get_parameter(name)) for name, value in module.named_parameters())


def test_every_mismatch_is_listed(folder, model, own, tiny):
    tensors = safetensors.torch.load_file(own / "model.safetensors")
    tensors["bert.encoder.layer.9.output.dense.weight"] = tensors.pop("bert.encoder.layer.1.output.dense.weight")
    tensors["classifier.weight"] = torch.zeros(5, 16)
    tensors["bert.pooler.dense.bias"] /= 0
    safetensors.torch.save_file(tensors, own / "model.safetensors")
    chosen = model(own)
    task = tiny.task(chosen, Sentences())
    with pytest.raises(WeightsError) as caught:
        check_start(replace(task, weights=chosen.starting_weights(task.interface)))
    for part in (
        "not in the file (`fresh` leaves them as they are drawn): bert.encoder.layer.1.output.dense.weight",
        "not in the network (`ignore` leaves them out): bert.encoder.layer.9.output.dense.weight",
        "classifier.weight (5×16 in the file, 3×16 in the network)",
        "bert.pooler.dense.bias (not all finite)",
    ):
        assert part in str(caught.value)


def test_without_pretrained_weights_a_folder_needs_none(own, model):
    (own / "model.safetensors").unlink()
    chosen = model(own, pretrained=False)
    assert chosen.starting_weights(INTERFACES["classes"]) is None
    build(chosen, INTERFACES["classes"])


def test_a_model_is_its_configuration_and_a_task_its_weights_wherever_they_are(folder, model, own, tiny):
    elsewhere = folder(num_labels=3)[0]
    keys = {protocol(_task(tiny, model(path)), "data") for path in (elsewhere, own)}
    assert len(keys) == 1
    tensors = safetensors.torch.load_file(own / "model.safetensors")
    tensors["classifier.bias"] += 1
    safetensors.torch.save_file(tensors, own / "model.safetensors")
    keys.add(protocol(_task(tiny, model(own)), "data"))
    _edit(own, hidden_dropout_prob=0.3)
    keys.add(protocol(_task(tiny, model(own)), "data"))
    assert len(keys) == 3


def test_a_model_travels_and_must_be_the_same_there(model, own, registry):
    chosen = model(own)
    plain = json.loads(json.dumps(to_values(chosen, registry)))
    assert from_values(plain, registry) == chosen
    _edit(own, hidden_dropout_prob=0.3)
    with pytest.raises(ValueError, match="is not the expected file"):
        from_values(plain, registry)


# --- hostile folders


def _edit(path, **changes):
    values = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**values, **changes}))


def _task(tiny, model):
    task = tiny.task(model, Sentences())
    return replace(task, weights=model.starting_weights(task.interface))


class Evil:
    def __reduce__(self):
        raise AssertionError("unpickled")


CONFIGS = {
    "no configuration": (lambda path: (path / "config.json").unlink(), "has no config.json: give a folder that"),
    "no JSON": (lambda path: (path / "config.json").write_bytes(b"{\xff"), "cannot be read as JSON"),
    "deep JSON": (lambda path: (path / "config.json").write_text("[" * 100_000), "cannot be read as JSON"),
    "a list": (lambda path: (path / "config.json").write_text("[1]"), "has no `model_type`"),
    "no type": (lambda path: (path / "config.json").write_text("{}"), "has no `model_type`"),
    "unknown type": (lambda path: _edit(path, model_type="mine"), "has no networks of model_type 'mine'"),
    "code": (lambda path: _edit(path, auto_map={"AutoModel": "evil.Evil"}), "`auto_map`), which is never executed"),
    "quantized": (lambda path: _edit(path, quantization_config={"bits": 4}), "is of a quantized network"),
    "text as number": (lambda path: _edit(path, hidden_size="large"), "does not fit transformers' 'bert'"),
    "no multiple": (lambda path: _edit(path, num_attention_heads=7), "does not fit transformers' 'bert'"),
    "endless": (lambda path: _edit(path, num_hidden_layers=10**9), "the number of blocks is 1000000000"),
    "no blocks": (lambda path: _edit(path, num_hidden_layers=0), "the number of blocks is 0"),
    "other type": (lambda path: _edit(path, model_type="vit"), "vit"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_hostile_configuration_is_one_sentence(model, own, name):
    change, words = CONFIGS[name]
    change(own)
    assert words in refused(model, own)


WEIGHTS = {
    "none": (lambda path: None, "has no model.safetensors; `pretrained: false` draws random weights"),
    "pickled": (
        lambda path: (path / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1})),
        "has no model.safetensors; pytorch_model.bin is pickled, and is not read",
    ),
    "several": (
        lambda path: (path / "model.safetensors.index.json").write_text("{}"),
        "has its weights in several files",
    ),
    "text": (lambda path: (path / "model.safetensors").write_text("weights"), "cannot be read as safetensors"),
    "pickle by another name": (
        lambda path: torch.save({"a": torch.ones(2)}, path / "model.safetensors"),
        "cannot be read as safetensors",
    ),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_other_weights_than_safetensors_are_one_sentence(model, own, name):
    change, words = WEIGHTS[name]
    (own / "model.safetensors").unlink()
    change(own)
    assert words in refused(model, own)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nowhere", "'nowhere' does not exist"),
        (__file__, "is not a folder"),
        ("package:no-such-package/model", "is in a package that is not installed: pip install no-such-package"),
        ("package:numpy/no/such/folder", "'package:numpy/no/such/folder' does not exist: the package has"),
    ],
)
def test_a_folder_that_is_not_there_is_one_sentence(model, path, words):
    assert words in refused(model, path)


def test_what_the_network_cannot_be_given_is_one_sentence(folder, model):
    path = folder(num_labels=3)[0]
    long = replace(IDS, shape=(33,))
    for interface, words in {
        Interface((replace(IDS, vocabulary=61), MASK), (3,)): "the data has 61 different tokens and",
        Interface((long, replace(MASK, shape=(33,))), (3,)): "positions for 32: give the data `length: 32`",
        Interface((Input((8,), "features"),), (3,)): "the model takes tokens, and not features",
        Interface((replace(IDS, name="left"), replace(IDS, name="right")), (3,)): "inputs are called input_ids",
        Interface((IDS, MASK), (4, 4)): "the model has no head for outputs of shape (4, 4)",
    }.items():
        assert words in refused(model, path, interface)
    with pytest.raises(ValueError, match=r"positions for 32: give the data `length: 32`"):  # and two for the padding
        build(model(folder("roberta", num_labels=3)[0]), Interface((replace(IDS, shape=(33,)),), (3,)))
    build(model(folder("roberta", num_labels=3)[0]), Interface((replace(IDS, shape=(32,)),), (3,)))


def test_a_network_without_the_head_or_with_two_halves_is_one_sentence(folder, model):
    path = folder("distilbert", num_labels=3)[0]
    assert "has no causal language modelling for model_type 'distilbert'" in refused(
        model, path, INTERFACES["tokens"], head="fresh"
    )
    halves = folder("bart", "encoder")[0]
    assert "has an encoder and a decoder" in refused(model, halves, head="fresh")


def test_without_the_library_the_extra_is_named(model, own, monkeypatch):
    monkeypatch.setattr("prunebench_plugins.hf.find_spec", lambda name: None)
    from prunebench_plugins import hf

    hf._config.cache_clear()
    assert refused(model, own) == "model 'hf' needs the library transformers: pip install 'prunebench[hf]'"


# --- whole chains


class Sentences(prunebench.Dataset):
    """The class is the first token's remainder; texts of different lengths."""

    name = "sentences"

    def facts(self):
        return prunebench.DataFacts(inputs=(IDS, MASK), classes=3, train=48, test=24)

    def load(self, root):
        drawn = np.random.RandomState(0)
        ids, lengths = drawn.randint(3, VOCABULARY, (72, LENGTH)).astype(np.uint8), drawn.randint(2, LENGTH, 72)
        mask = (np.arange(LENGTH) < lengths[:, None]).astype(np.uint8)
        inputs = [
            {"input_ids": (ids * mask)[part], "attention_mask": mask[part]} for part in (slice(48), slice(48, 72))
        ]
        labels = (ids[:, 0] % 3).astype(np.int64)
        return prunebench.Arrays(inputs[0], labels[:48], inputs[1], labels[48:])


@pytest.mark.parametrize("name", ["magnitude-layerwise", "wanda", "sparsegpt", "snip", "grasp", "gradual"])
def test_methods_prune_it(folder, model, tiny, method, run_chain, name):
    task = _task(tiny, model(folder(num_labels=3)[0]))
    parameters = {"gradual": {"start": "2it", "interval": "2it"}}.get(name, {})
    end = run_chain(tiny.trial(method(name, **parameters), task=task, sparsity=0.5)).end
    assert sum(int(mask.sum()) for mask in end.masks.values()) == (4 * 16 * 16 + 2 * 16 * 32)
    assert all(not end.parameters[key][~mask].any() for key, mask in end.masks.items())


def test_the_pruned_network_is_delivered_in_int8_and_to_transformers(folder, model, tiny, method, run_stages):
    task = _task(tiny, model(folder(num_labels=3)[0]))
    deploy = Deploy(by=method("int8", activations="dynamic"), batch=2)
    layerwise = PruneLayerwise(by=method("wanda", structure=prunebench.Structure(n=2, m=4)), density=0.5)
    chain = run_stages(task, layerwise, Train(until="4it"))
    figures, _ = measured(deploy, chain.end, chain.context)
    dense, _ = measured(Deploy(batch=2), chain.end, chain.context)
    assert figures["latency_ms"] > 0
    assert abs(figures["test_accuracy"] - dense["test_accuracy"]) < 0.2

    import transformers

    trained = copied(build(task.model, task.interface))
    trained.load_state_dict(chain.end.parameters | chain.end.buffers, strict=False)
    again = transformers.BertForSequenceClassification(hf_folders.config_of("bert", num_labels=3))
    again.load_state_dict(trained.state_dict())
    ids, mask = batch()
    with torch.no_grad():
        ours = trained.eval()({"input_ids": ids, "attention_mask": mask})
        theirs = again.eval()(input_ids=ids * mask, attention_mask=mask).logits
    torch.testing.assert_close(ours, theirs)


def test_random_masks_leave_embeddings_norms_and_head_alone(folder, model, tiny, run_stages):
    task = _task(tiny, model(folder(num_labels=3)[0]))
    chain = run_stages(task, Prune(by=tiny.ByChance(), density=0.5))
    begun = chain.after(Initialize)
    for name, value in chain.end.parameters.items():
        same = torch.equal(value, begun.parameters[name])
        assert same == (not (name.startswith("bert.encoder.layer") and value.dim() == 2))
