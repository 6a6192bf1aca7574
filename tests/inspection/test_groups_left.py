"""What `inspect` says of the groups of a cut network."""

import torch

import prunebench
from prunebench.inspection import inspect
from prunebench.inspection.report import text


class Narrow(prunebench.Model):
    """Two convolutions of 4 channels, and 6 hidden units."""

    name = "narrow"

    def build(self, shape, classes):
        nn = torch.nn
        convs = [nn.Conv2d(shape[0], 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()]
        linear = [nn.Linear(4 * shape[1] * shape[2], 6), nn.ReLU(), nn.Linear(6, classes)]
        return nn.Sequential(*convs, nn.Flatten(), *linear)


class First(prunebench.StructuredMethod):
    """Keep the first channels."""

    name = "first"

    def channel_scores(self, scoring):
        return {group.name: -torch.arange(float(group.size)) for group in scoring.groups}


def test_inspect_counts_what_is_left_of_each_group(tiny, finished):
    method = First(groups=("columns",), finetune=0)
    found = inspect(finished(tiny.trial(method, sparsity=0.4, task=tiny.task(Narrow(), steps=4))))
    rows = [(one.name, one.kind, one.size) for one in found.groups]
    assert rows == [("0.weight", "channels", 4), ("2.weight", "channels", 4), ("5.weight", "columns", 6)]
    left = [one.left for one in found.groups]
    assert left[:2] == [4, 4]
    assert 0 < left[2] < 6
    assert found.as_json()["groups"][2] == {"name": "5.weight", "kind": "columns", "left": left[2], "size": 6}
    [line] = [line for line in text(found).splitlines() if "columns" in line]
    assert line.split() == ["5.weight", "columns", str(left[2]), "6"]


def test_inspect_has_no_groups_of_a_whole_network(tiny, method, finished):
    found = inspect(finished(tiny.trial(method("magnitude"))))
    assert found.groups == ()
    assert "Groups" not in text(found)
