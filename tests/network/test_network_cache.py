"""Descriptions of networks are kept, and none is taken for another's."""

import json

import pytest

from prunebench.api.tasks import Prunable
from prunebench.network import cache as networks
from prunebench.network.cache import NetworkCache
from prunebench.network.description import describe


@pytest.fixture
def counted(monkeypatch):
    """The tasks that were described anew."""
    requested = []

    def counting(task):
        requested.append(task)
        return describe(task)

    monkeypatch.setattr(networks, "describe", counting)
    return requested


def test_what_is_kept_is_what_was_described(tiny, tmp_path, counted):
    for model in (tiny.MLP(), tiny.Conv()):
        task = tiny.task(model)
        for _ in range(2):
            assert NetworkCache(tmp_path).of(task) == describe(task)
    assert len(counted) == 2


def test_a_task_is_described_once_in_a_process_even_if_nothing_can_be_kept(tiny, tmp_path, counted):
    (tmp_path / "file").write_text("no folder", "utf-8")
    known = NetworkCache(tmp_path / "file" / "networks")
    assert known.of(tiny.task()) == known.of(tiny.task())
    assert len(counted) == 1


def test_whatever_a_description_depends_on_makes_another(tiny, tmp_path, counted, monkeypatch):
    tasks = [
        tiny.task(),
        tiny.task(tiny.MLP(hidden=(13,))),
        tiny.task(tiny.Conv()),
        tiny.task(prunable=Prunable(first=False)),
    ]
    for task in tasks:
        assert NetworkCache(tmp_path).of(task) == describe(task)
    assert len(counted) == len(tasks)
    for name in ("installed", "_code", "source_hash"):
        monkeypatch.setattr(networks, name, lambda *given: "another")
        NetworkCache(tmp_path).of(tiny.task())
        assert len(counted) == len(tasks) + 1
        counted.pop()


def test_tasks_that_differ_in_their_recipe_share_a_description(tiny, tmp_path, counted):
    NetworkCache(tmp_path).of(tiny.task())
    NetworkCache(tmp_path).of(tiny.task(label="longer", steps=40))
    assert len(counted) == 1


def _without_layers(text):
    content = json.loads(text)
    content["network"]["layers"] = content["network"]["layers"][:1]
    return json.dumps(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-2],
        lambda text: "null",
        lambda text: "[]",
        lambda text: "[" * 10**5,
        lambda text: text.replace("flops", "flips"),
        lambda text: text.replace("483", "484"),
        _without_layers,
    ],
)
def test_a_damaged_file_is_made_again(tiny, tmp_path, counted, damage):
    task = tiny.task()
    NetworkCache(tmp_path).of(task)
    (path,) = tmp_path.iterdir()
    before = path.read_text("utf-8")
    assert damage(before) != before
    path.write_text(damage(before), "utf-8")
    assert NetworkCache(tmp_path).of(task) == describe(task)
    assert len(counted) == 2
    assert path.read_text("utf-8") == before


def test_a_description_under_the_name_of_another_is_not_taken(tiny, tmp_path, counted):
    one, other = tiny.task(), tiny.task(tiny.MLP(hidden=(13,)))
    NetworkCache(tmp_path).of(one)
    (first,) = tmp_path.iterdir()
    NetworkCache(tmp_path).of(other)
    (second,) = set(tmp_path.iterdir()) - {first}
    second.write_bytes(first.read_bytes())
    assert NetworkCache(tmp_path).of(other) == describe(other)
