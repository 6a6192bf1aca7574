"""Tickets on disk: what is written comes back to the bit, and nothing else is taken for one."""

import json
import pickle
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from prunebench import load_ticket
from prunebench.api.errors import PrunebenchError, TicketError
from prunebench.api.files import File
from prunebench.inspection.tickets import HEADER, Facts, Ticket, masked, to_bytes
from prunebench.suite.reading import trial_to_plain

KEPT = torch.tensor([[True, False, False], [False, True, True]])


@pytest.fixture
def ticket(tiny):
    """Two linear layers, 36 → 2 → 3: the second one keeps three of its six weights, the first is dense."""
    task = tiny.task(tiny.MLP(hidden=(2,)))
    torch.manual_seed(0)
    initial = {f"{layer}.{name}": torch.randn(shape) for layer, name, shape in SHAPES}
    final = masked({name: value + 1 for name, value in initial.items()}, {"4.weight": KEPT.T})
    facts = Facts(
        trial="tiny/mine/0.5/0",
        configuration=trial_to_plain(tiny.trial(tiny.ByChance(), task=task)),
        layers=(("1.weight", (2, 36)), ("4.weight", (3, 2))),
        shape=(1, 6, 6),
        classes=3,
        initial_step=0,
        figures={"accuracy": 0.5},
        key="k",
        protocol="p",
        fingerprint="f",
        environment={"threads": "1"},
    )
    return Ticket(facts, {"4.weight": KEPT.T}, initial, final)


SHAPES = [("1", "weight", (2, 36)), ("1", "bias", (2,)), ("4", "weight", (3, 2)), ("4", "bias", (3,))]


def written(tmp_path, content):
    path = tmp_path / "t.safetensors"
    path.write_bytes(content)
    return path


def altered(ticket, tensors=None, facts=None, without=()):
    """The bytes of a ticket with other tensors and facts in it."""
    content = to_bytes(ticket)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    described = json.loads(header["__metadata__"][HEADER]) | (facts or {})
    kept = {name: value for name, value in safetensors.torch.load(content).items() if name not in without}
    return safetensors.torch.save(kept | (tensors or {}), {HEADER: json.dumps(described)})


def test_a_ticket_comes_back_as_it_was(ticket, tmp_path):
    ticket.save(tmp_path / "t.safetensors")
    back = load_ticket(tmp_path / "t.safetensors")
    assert back.facts == ticket.facts
    for part in ("masks", "initial", "final"):
        before, after = getattr(ticket, part), getattr(back, part)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
    assert (back.kept, back.size) == (75, 78)
    assert back.sparsity == pytest.approx(3 / 78)


def test_masks_are_bits_and_pruned_weights_take_no_room(ticket):
    tensors = safetensors.torch.load(to_bytes(ticket))
    assert tensors["mask/4.weight"].tolist() == [0b10010100]
    assert tensors["final/4.weight#kept"].tolist() == ticket.final["4.weight"][KEPT.T].tolist()
    assert tensors["initial/4.weight"].shape == (3, 2)


def test_the_same_ticket_gives_the_same_bytes(ticket):
    assert to_bytes(ticket) == to_bytes(replace(ticket, final=dict(reversed(ticket.final.items()))))


def test_nothing_is_left_beside_a_ticket_and_an_old_one_is_replaced(ticket, tmp_path):
    (tmp_path / "t.safetensors").write_bytes(b"old")
    ticket.save(tmp_path / "t.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]
    assert load_ticket(tmp_path / "t.safetensors").facts == ticket.facts


def test_a_folder_that_is_not_there_is_an_error(ticket, tmp_path):
    with pytest.raises(TicketError, match="cannot write"):
        ticket.save(tmp_path / "nowhere" / "t.safetensors")


@pytest.fixture
def known(tiny, monkeypatch):
    """The model of the ticket, in the registry."""
    from prunebench.api.registry import Registry

    components = {"model": {"tiny-mlp": tiny.MLP}, "method": {}, "dataset": {"blobs": tiny.Blobs}}
    monkeypatch.setattr("prunebench.inspection.tickets.plugins.load", lambda *_: Registry(components=components))


def test_the_model_has_the_final_weights_and_is_ready_for_use(ticket, known):
    state = torch.random.get_rng_state()
    model = ticket.model()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not model.training
    assert all(torch.equal(value, ticket.final[name]) for name, value in model.state_dict().items())


def test_or_the_masked_initial_ones(ticket, known):
    weights = ticket.model("initial").state_dict()
    assert torch.equal(weights["1.weight"], ticket.initial["1.weight"])
    assert torch.equal(weights["4.weight"], ticket.initial["4.weight"] * KEPT.T)


def test_a_model_that_nobody_provides_is_named(ticket):
    with pytest.raises(PrunebenchError, match="unknown model 'tiny-mlp'"):
        ticket.model()


def test_a_model_that_changed_since_is_told_from_the_ticket(ticket, known, tmp_path):
    configuration = json.loads(json.dumps(ticket.facts.configuration))
    configuration["task"]["model"]["hidden"] = [3]
    other = load_ticket(written(tmp_path, altered(ticket, facts={"configuration": configuration})))
    with pytest.raises(TicketError, match=r"does not fit the model that it names.*: 1\.bias, 1\.weight, 4\.weight"):
        other.model()
    configuration["task"]["model"]["hidden"] = [-1]
    other = load_ticket(written(tmp_path, altered(ticket, facts={"configuration": configuration})))
    with pytest.raises(TicketError, match="cannot be built"):
        other.model()


@pytest.mark.parametrize("configuration", [{}, {"task": 3}, {"task": {"model": {}}}, {"task": {"model": {"name": 1}}}])
def test_a_ticket_that_does_not_say_its_model_is_an_error(ticket, known, tmp_path, configuration):
    other = load_ticket(written(tmp_path, altered(ticket, facts={"configuration": configuration})))
    with pytest.raises(PrunebenchError):
        other.model()


def test_other_data_than_the_trials_is_refused(ticket, known, tmp_path):
    with pytest.raises(TicketError, match=r"'blobs' is not the data that tiny/mine/0\.5/0 was trained on"):
        ticket.evaluate(store=tmp_path / "store")


class Trap:
    """Would leave a file behind if it were ever unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_is_refused_unread(tmp_path):
    trap = tmp_path / "sprung"
    for name, content in {"plain": pickle.dumps(Trap(trap)), "zip": b"PK\x03\x04" + bytes(100)}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TicketError, match=r"a pickle .* pickles are never loaded"):
            load_ticket(tmp_path / name)
    torch.save({"a": torch.ones(2)}, tmp_path / "saved.pt")
    with pytest.raises(TicketError, match=r"saved\.pt: a pickle"):
        load_ticket(tmp_path / "saved.pt")
    assert not trap.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a safetensors file"),
        (b"{}", "not a safetensors file"),
        (b"\xff" * 64, "the end of one is missing"),
        ((2**40).to_bytes(8, "little") + b"{}", "the end of one is missing"),
        ((20 * 2**20).to_bytes(8, "little") + b" " * (20 * 2**20), "a header of 20,971,520 bytes"),
        ((8).to_bytes(8, "little") + b"nonsense", "its header is not JSON"),
        ((400_000).to_bytes(8, "little") + b"[" * 400_000, "its header is not JSON"),
        ((4).to_bytes(8, "little") + b"[1] ", "but no ticket"),
        (safetensors.torch.save({"a": torch.ones(2)}), "but no ticket"),
        (safetensors.torch.save({"a": torch.ones(2)}, {HEADER: "{"}), "not those of a ticket"),
        (safetensors.torch.save({"a": torch.ones(2)}, {HEADER: "{}"}), "not those of a ticket: trial: Field required"),
    ],
    ids=range(11),
)
def test_a_file_that_is_not_a_ticket_is_an_error(tmp_path, content, message):
    with pytest.raises(TicketError, match=message) as caught:
        load_ticket(written(tmp_path, content))
    assert str(caught.value).startswith(str(tmp_path / "t.safetensors"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"without": ["initial/4.weight"]}, r"no initial weights of '4.weight' in shape \(3, 2\)"),
        ({"tensors": {"initial/4.weight": torch.ones(2, 3)}}, r"no initial weights of '4.weight' in shape \(3, 2\)"),
        ({"without": ["initial/4.bias"]}, "'4.bias' are not of the kind"),
        ({"without": ["final/4.bias"]}, "'4.bias' is in only one"),
        ({"without": ["mask/4.weight"]}, "'4.weight' are not of the kind"),
        ({"tensors": {"mask/4.weight": torch.ones(2, dtype=torch.uint8)}}, "not one bit for each weight"),
        ({"tensors": {"mask/4.weight": torch.ones(1)}}, "not one bit for each weight"),
        ({"tensors": {"mask/4.bias": torch.ones(1, dtype=torch.uint8)}}, "'4.bias', which is none of its layers"),
        ({"tensors": {"final/4.weight#kept": torch.ones(4)}}, "are 4, and its mask keeps 3"),
        ({"tensors": {"final/4.bias": torch.ones(2)}}, r"'4.bias' is \(3,\) at first and \(2,\) in the end"),
        ({"tensors": {"final/4.bias": torch.ones(3, dtype=torch.float64)}}, "not of the kind"),
        ({"tensors": {"more/4.bias": torch.ones(3)}}, "'more/4.bias' is not part of a ticket"),
        ({"facts": {"format": 2}}, "format"),
        ({"facts": {"more": 2}}, "more"),
        ({"facts": {"layers": []}}, "layers have no names"),
        ({"facts": {"layers": [["4.weight", [3, 2]], ["4.weight", [3, 2]]]}}, "layers have no names"),
        ({"facts": {"layers": [["4.weight", [-3, -2]]]}}, r"layers.0.1.0: Input should be greater"),
        ({"facts": {"layers": [["4.weight", [2**40, 2**40]]]}}, "no initial weights"),
        ({"facts": {"classes": "3"}}, "classes"),
    ],
    ids=range(19),
)
def test_parts_that_contradict_each_other_are_an_error(ticket, tmp_path, change, message):
    with pytest.raises(TicketError, match=message):
        load_ticket(written(tmp_path, altered(ticket, **change)))


def test_a_ticket_cut_short_anywhere_is_an_error(ticket, tmp_path):
    whole = to_bytes(ticket)
    for length in range(0, len(whole), 97):
        with pytest.raises(TicketError):
            load_ticket(written(tmp_path, whole[:length]))


def test_no_file_no_ticket(tmp_path):
    with pytest.raises(TicketError, match=r"none\.safetensors cannot be read: No such file"):
        load_ticket(tmp_path / "none.safetensors")
    with pytest.raises(TicketError, match="is not a file"):
        load_ticket(tmp_path)


def test_a_parameters_file_is_read_by_its_content(ticket, tmp_path):
    path = written(tmp_path, to_bytes(ticket))
    file = File.at(str(path))
    assert load_ticket(file).facts == ticket.facts
    path.write_bytes(b"other")
    with pytest.raises(PrunebenchError, match="changed since"):
        load_ticket(file)
