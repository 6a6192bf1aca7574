"""Nearest names: case and separators are not compared."""

import pytest

from prunebench.api.errors import PluginError
from prunebench.messages.suggestions import nearest


@pytest.mark.parametrize(
    ("word", "expected"),
    [("SNIP", "snip"), ("SR-STE", "sr-ste"), ("sr_ste", "sr-ste"), ("rigl", "rigl"), ("Snpi", "snip"), ("zzz", None)],
)
def test_case_and_separators_are_not_compared(word, expected):
    assert nearest(word, ["snip", "sr-ste", "rigl"]) == ([expected] if expected else [])


def test_the_best_comes_first_and_no_more_than_asked_for():
    assert nearest("RESNET-20", ["resnet110", "resnet20", "vgg", "resnet"], n=2) == ["resnet20", "resnet"]
    assert len(nearest("a", ["A", "a", "-a"], n=2)) == 2
    assert nearest("a", ["A", "a", "-a"]) == ["a"]
    assert nearest("", ["a"]) == nearest("--", ["a"]) == []


@pytest.mark.parametrize(
    ("kind", "written", "name"),
    [
        ("method", "SNIP", "snip"),
        ("method", "GraSP", "grasp"),
        ("method", "IMP", "imp"),
        ("method", "SET", "set"),
        ("method", "SNFS", "snfs"),
        ("method", "RigL", "rigl"),
        ("method", "SynFlow", "synflow"),
        ("method", "SR-STE", "sr-ste"),
        ("method", "STE", "ste"),
        ("method", "Edge-Popup", "edge-popup"),
        ("model", "ResNet-20", "resnet20"),
        ("model", "ResNet20", "resnet20"),
        ("model", "MLP", "mlp"),
        ("model", "TIMM/ResNet18", "timm/ResNet18"),
        ("dataset", "CIFAR-10", "cifar10"),
        ("dataset", "CIFAR100", "cifar100"),
        ("dataset", "FashionMNIST", "fashion-mnist"),
        ("dataset", "SVHN", "svhn"),
        ("dataset", "ImageFolder", "image-folder"),
        ("executor", "LOCAL", "local"),
    ],
)
def test_names_as_papers_write_them_find_their_own(registry, kind, written, name):
    with pytest.raises(PluginError, match=f"unknown {kind} '{written}'; did you mean '{name}'\\?"):
        registry.find(kind, written)
