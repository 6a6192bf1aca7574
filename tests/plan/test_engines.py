"""Which engine trains what, what keys say of it, and what is refused."""

import dataclasses

import pytest

import prunebench
from prunebench import Prune, Train
from prunebench.api.errors import PrunebenchError, Unreachable
from prunebench.api.tasks import Optimizer, Prunable
from prunebench.plan import engines
from prunebench.plan.planning import make_plan, protocol, resolve
from prunebench.training import optimizers


def with_engine(task, engine):
    return dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, engine=engine))


def nodes_of(trial):
    return list(resolve(trial, protocol(trial.task, "0" * 32)))


def engines_of(tiny, method, density, engine, **recipe):
    task = with_engine(tiny.task(**recipe), engine)
    trial = tiny.trial(method, sparsity=1 - density, task=task)
    return [node.engine for node in nodes_of(trial) if isinstance(node.stage, Train)]


def pruned_between(tiny, density):
    stages = (prunebench.Initialize(), Train(), Prune(by=tiny.ByChance(), density=density), Train(until="+3it"))
    return tiny.Chained(chain=stages)


@pytest.mark.parametrize(
    ("engine", "density", "found"),
    [
        ("dense", 0.1, ["dense", "dense"]),
        ("sparse", 0.9, ["dense", "sparse"]),
        ("sparse", 0.1, ["dense", "sparse"]),
        ("auto", 0.1, ["dense", "sparse"]),
        ("auto", engines.AUTO_DENSITY, ["dense", "sparse"]),
        ("auto", engines.AUTO_DENSITY + 0.01, ["dense", "dense"]),
    ],
)
def test_only_trainings_of_pruned_networks_are_sparse(tiny, engine, density, found):
    assert engines_of(tiny, pruned_between(tiny, density), density, engine) == found


def test_what_is_trained_densely_is_shared_and_what_is_trained_sparsely_is_not(tiny):
    method = pruned_between(tiny, 0.1)
    dense, sparse, auto = (
        nodes_of(tiny.trial(method, task=with_engine(tiny.task(), engine))) for engine in ("dense", "sparse", "auto")
    )
    assert [node.key for node in sparse] == [node.key for node in auto]
    assert [one.key == other.key for one, other in zip(dense, sparse, strict=True)] == [True, True, True, False]


def test_rows_of_all_engines_have_one_protocol(tiny):
    assert len({protocol(with_engine(tiny.task(), engine), "0") for engine in ("dense", "sparse", "auto")}) == 1


def test_a_new_version_of_the_engine_has_new_keys_and_dense_trainings_keep_theirs(tiny, monkeypatch):
    trials = [tiny.trial(pruned_between(tiny, 0.1), task=with_engine(tiny.task(), one)) for one in ("dense", "sparse")]
    before = [nodes_of(trial)[-1].key for trial in trials]
    monkeypatch.setattr(engines, "VERSION", engines.VERSION + 1)
    after = [nodes_of(trial)[-1].key for trial in trials]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False]


def test_a_training_in_pieces_is_one_trajectory(tiny):
    task = with_engine(tiny.task(), "sparse")
    prune = Prune(by=tiny.ByChance(), density=0.1)
    whole, pieces = (
        nodes_of(tiny.trial(tiny.Chained(chain=(prunebench.Initialize(), prune, *trainings)), task=task))
        for trainings in ((Train(),), (Train("5it"), Train()))
    )
    assert whole[-1].key == pieces[-1].key


def test_the_plan_knows_the_engine_of_each_trial(tiny):
    trials = [
        tiny.trial(pruned_between(tiny, 0.1), task=tiny.task(label="one")),
        tiny.trial(pruned_between(tiny, 0.1), task=with_engine(tiny.task(label="two"), "auto")),
    ]
    plan = make_plan(trials, {})
    assert [planned.engine for planned in plan.trials] == ["dense", "sparse"]
    assert "train from step 20 to 23 (sparse engine)" in [node.summary for node in plan.nodes.values()]


@pytest.mark.parametrize("name", ["set", "rigl", "gradual", "static", "snip", "imp", "magnitude"])
def test_methods_that_can_be_trained_on_kept_weights(tiny, method, name):
    parameters = {"finetune": "1ep"} if name == "magnitude" else {}
    assert engines_of(tiny, method(name, **parameters), 0.1, "sparse")[-1] == "sparse"


@pytest.mark.parametrize("name", ["snfs", "ste", "edge-popup", "admm"])
def test_methods_that_need_all_weights_are_skipped_or_trained_densely(tiny, method, name):
    by = method(name)
    if any(isinstance(stage, Train) and stage.by for stage in by.stages(tiny.trial(by, sparsity=0.9))):
        with pytest.raises(Unreachable, match=f"method '{name}' needs .*; `engine: auto` trains it densely"):
            engines_of(tiny, by, 0.1, "sparse")
    assert set(engines_of(tiny, by, 0.1, "auto")) <= {"dense", "sparse"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"precision": "bfloat16"}, "it computes in float32, not in bfloat16"),
        ({"compile": True}, "it does not work with `compile: true`"),
    ],
)
def test_recipes_that_it_cannot_do_are_refused_and_left_to_the_dense_engine(tiny, changes, reason):
    by = pruned_between(tiny, 0.1)
    with pytest.raises(PrunebenchError, match=f"task 'tiny': `engine: sparse` cannot train it: {reason}"):
        engines_of(tiny, by, 0.1, "sparse", **changes)
    assert engines_of(tiny, by, 0.1, "auto", **changes) == ["dense", "dense"]
    assert engines_of(tiny, by, 0.1, "dense", **changes) == ["dense", "dense"]


def test_networks_that_it_cannot_train_are_refused_and_left_to_the_dense_engine(tiny):
    def found(engine, **task):
        trial = tiny.trial(pruned_between(tiny, 0.1), task=with_engine(tiny.task(tiny.Conv(), **task), engine))
        return [node.engine for node in nodes_of(trial)][-1]

    with pytest.raises(PrunebenchError, match=r"task 'tiny': .* cannot train it: '0.weight' is in a Conv2d, and only"):
        found("sparse")
    assert found("auto") == "dense"
    assert found("sparse", prunable=Prunable(exclude=("^[036]",))) == "sparse"


def test_a_machine_without_numba_is_told_what_to_install(tiny, monkeypatch):
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    for engine in ("sparse", "auto"):
        with pytest.raises(PrunebenchError, match=rf"`engine: {engine}` needs the package numba: pip install"):
            engines_of(tiny, pruned_between(tiny, 0.1), 0.1, engine)
    assert engines_of(tiny, pruned_between(tiny, 0.1), 0.1, "dense") == ["dense", "dense"]


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_optimizers_of_torch_need_only_kept_weights(name):
    assert optimizers.trains_kept_weights(Optimizer(name=name, lr=0.1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fit"),
    [
        *((name, True) for name in ("nadamw", "radam", "lion", "rmsprop", "laprop", "adabelief", "adan", "adamax")),
        *((name, False) for name in ("adafactor", "muon", "cadamw", "adafactorbv", "adamp", "sgdp")),
    ],
)
def test_optimizers_of_timm_are_tried(tiny, name, fit):
    assert optimizers.trains_kept_weights(Optimizer(name=name, lr=0.01)) is fit


@pytest.mark.slow
def test_an_optimizer_that_mixes_weights_is_refused_by_name(tiny):
    with pytest.raises(PrunebenchError, match="optimizer 'muon' gives other weights if it sees only the kept ones"):
        engines_of(tiny, pruned_between(tiny, 0.1), 0.1, "sparse", optimizer=Optimizer(name="muon", lr=0.01))
