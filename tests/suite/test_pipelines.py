"""Pipelines: stages written out in a suite, in place of a method's name."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Annotated

import pytest
from annotated_types import Ge

from prunebench import Initialize, Method, Prune, Reinitialize, Rewind, Shuffle, Structure, Train
from prunebench.api import plugins, stages
from prunebench.api.errors import SuiteError
from prunebench.api.tasks import Trial
from prunebench.execution.results import variant
from prunebench.plan.planning import PlannedTrial, make_plan
from prunebench.suite import from_plain, read_suite, suite_schema, to_plain, trial_from_plain, trial_to_plain
from prunebench.suite.input_models import stage_classes
from prunebench.suite.sections.pipelines import Pipeline
from tests import runs


@pytest.fixture
def entry(read, valid):
    """The entry that one line of YAML under `methods` makes."""
    return lambda line: read(valid.replace("  - coin\n", f"  - {line}\n")).entries[1]


@pytest.fixture
def wrong(mistakes, valid):
    """The mistakes of a line under `methods`, each with what stands at its place in the line."""

    def wrong(line):
        lines = mistakes(valid.replace("- coin\n", f"- {line}\n"))
        found = [one.split(":", 3) for one in lines if not one.startswith("    note: ")]
        assert {tuple(one[:2]) for one in found} == {("suite.yaml", "7")}
        return [(line[int(one[2]) - 5 :], one[3].strip().removeprefix("methods.0.")) for one in found]

    return wrong


TIMES = "write 0, end, steps like 500it, epochs like 2ep, or a share like 5%"
FROM_THERE = "counts from the current step; write it without the +"
ALLOCATION = "'global', 'uniform', 'er' or 'erk' or a list of lists [text, a number above 0 and of at most 1]"


def chain(entry, sparsity=0.9):
    trial = Trial(suite="s", task=None, entry=entry, sparsity=sparsity, seed=0)
    return list(entry.method.stages(trial))


def test_stages_become_a_chain(entry, fakes):
    saliency, mover = fakes.components["method"]["saliency"], fakes.components["method"]["mover"]
    found = entry(
        "{label: p, stages: [initialize, {prune: {by: saliency, density: 0.5}},"
        " {train: {by: {name: mover, interval: 5it}, until: 50%}},"
        " {prune: {by: {name: saliency, preset: paper}, density: target, allocation: erk, rounds: 3}},"
        " shuffle, {rewind: {to: 50%, weights: false}}, {train: {until: +10%, stream: other}}, reinitialize, train]}"
    )
    assert found.label == "p"
    assert chain(found) == [
        Initialize(),
        Prune(by=saliency(), density=0.5),
        Train(by=mover(interval="5it"), until="50%"),
        Prune(by=saliency(batches=5), density=0.1, allocation="erk", rounds=3),
        Shuffle(),
        Rewind(to="50%", weights=False),
        Train(until="+10%", stream="other"),
        Reinitialize(),
        Train(),
    ]


def test_a_pruning_goes_to_the_target_unless_it_says_otherwise(entry):
    found = entry("{label: p, stages: [initialize, {prune: {by: saliency}}, {train: {by: mover, density: target}}]}")
    for sparsity in (0.9, 0.5):
        _, prune, train = chain(found, sparsity)
        assert prune.density == train.density == round(1 - sparsity, 12)
    mixed = entry("{label: p, stages: [initialize, {prune: {by: saliency, density: 1}}, {prune: {by: saliency}}]}")
    assert [stage.density for stage in chain(mixed)[1:]] == [1.0, 0.1]
    moving = entry("{label: p, stages: [initialize, {prune: {by: saliency}}, {train: {by: mover}}]}")
    assert chain(moving)[2].density is None


def test_text_that_reads_target_elsewhere_stays_text(entry):
    found = entry("{label: p, stages: [initialize, {prune: {by: saliency}}, {train: {stream: target}}]}")
    assert chain(found)[2] == Train(stream="target")


def test_shares_by_hand_can_be_written(entry):
    found = entry("{label: p, stages: [initialize, {prune: {by: saliency, allocation: [[a, 0.5], [b.c, 1]]}}]}")
    assert chain(found)[1].allocation == (("a", 0.5), ("b.c", 1.0))
    assert hash(chain(found)[1])


def test_ablations_and_sparsities_stand_beside_the_stages(entry):
    found = entry("{label: p, shuffle: true, sparsities: [0.5], stages: [initialize, {prune: {by: saliency}}]}")
    assert (found.shuffle, found.reinitialize, found.sparsities) == (True, False, (0.5,))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{stages: [initialize, {prune: {by: saliency}}]}", [("{stages", "label: is missing")]),
        (
            "{name: coin, label: p, stages: [initialize]}",
            [("stages: [", "stages: a pipeline has stages, a method has a name: give one or the other")],
        ),
        ("{label: p, stages: []}", [("[]", "stages: must be a non-empty list, not an empty list")]),
        ("{label: p, stages: initialize}", [("initialize}", "stages: must be a non-empty list, not 'initialize'")]),
        (
            "{label: p, shufle: true, stages: [initialise, {prun: {}}, 3, {}, {train: {}, shuffle: {}}, {train: }]}",
            [
                ("shufle", "shufle: unknown key; did you mean 'shuffle'?"),
                ("initialise", "stages.0: unknown stage 'initialise'; did you mean 'initialize'?"),
                ("prun:", "stages.1.prun: unknown stage 'prun'; did you mean 'prune'?"),
                ("3,", "stages.2: must be a stage, or a mapping from a stage to its keys, not 3"),
                ("{},", "stages.3: must be a stage, or a mapping from a stage to its keys, not an empty mapping"),
                ("{train: {}, sh", "stages.4: must be a stage, or a mapping from a stage to its keys, not a mapping"),
                ("train: }", "stages.5.train: must be a mapping, not nothing"),
            ],
        ),
        (
            "{label: p, stages: [{prune: {density: 2, by: {name: saliency, batchs: 2}, alocation: erk, rounds: 0}}]}",
            [
                ("2,", "stages.0.prune.density: must be a number above 0 and of at most 1 or 'target', not 2"),
                ("batchs", "stages.0.prune.by.batchs: unknown key; did you mean 'batches'?"),
                ("alocation", "stages.0.prune.alocation: unknown key; did you mean 'allocation'?"),
                ("0}}]", "stages.0.prune.rounds: must be a whole number of at least 1, not 0"),
            ],
        ),
        (
            "{label: p, stages: [prune, {prune: {by: null}}, {prune: {by: salience}}, {train: {by: 3, until: 5}}]}",
            [
                ("prune, {", "stages.0.by: is missing"),
                ("null", "stages.1.prune.by: must be the name of a method, or a mapping with a name, not nothing"),
                ("salience", "stages.2.prune.by: unknown method 'salience'; did you mean 'saliency'?"),
                ("3,", "stages.3.train.by: must be the name of a method, or a mapping with a name, not 3"),
                ("5}", f"stages.3.train.until: 5 is not a time: {TIMES}"),
            ],
        ),
        (
            "{label: p, stages: [initialize, {prune: {by: mover}}, {train: {by: saliency}}, {rewind: {to: +1ep}}]}",
            [
                ("mover", "stages.1.prune.by: method 'mover' has no scores, which prune needs"),
                ("saliency", "stages.2.train.by: method 'saliency' has no updater, which train needs"),
                ("+1ep", f"stages.3.rewind.to: '+1ep' {FROM_THERE}"),
            ],
        ),
        (
            "{label: p, stages: [initialize, {prune: {by: saliency, allocation: [[a, 2], [b]]}}]}",
            [("[[a", f"stages.1.prune.allocation: must be {ALLOCATION}, not [['a', 2], ['b']]")],
        ),
        (
            "{label: p, sparsities: [0.5, 0.5], stages: [{prune: {by: saliency, structure: {n: 5, m: 4}}}]}",
            [
                ("0.5]", "sparsities.1: 0.5 is listed twice"),
                ("{n: 5", "stages.0.prune.structure: 5:4 keeps more than all weights: n must be at most m"),
            ],
        ),
    ],
)
def test_everything_that_is_wrong_is_told_at_its_place(wrong, line, told):
    found = wrong(line)
    assert [message for _, message in found] == [message for _, message in told]
    assert all(place.startswith(start) for (place, _), (start, _) in zip(found, told, strict=True))


@pytest.mark.parametrize(
    ("stages", "start", "message"),
    [
        ("[train, {prune: {by: saliency}}]", "train", "stages.0: a chain begins with Initialize, not with Train("),
        (
            "[initialize, {prune: {by: saliency}}, initialize, {train: {until: 5it}}, {train: {until: 4it}}]",
            "initialize, {train",
            "stages.2: Initialize begins a chain, and comes nowhere else in it (task scans-net)",
        ),
        (
            "[initialize, train, {prune: {by: saliency}}, {rewind: {to: 5it}}, train]",
            "{rewind",
            "stages.3: cannot rewind to 5it (step 5): the chain did not stop there (task scans-net)",
        ),
        (
            "[initialize, train, {prune: {by: saliency}}, {train: {until: 5it}}]",
            "{train: {until: 5it",
            "stages.3: Train(until='5it') lies before step 64, where the chain",
        ),
        (
            "[initialize, shuffle, {prune: {by: saliency}}]",
            "shuffle",
            "stages.1: there is no mask to shuffle: nothing was pruned yet (task scans-net)",
        ),
    ],
)
def test_a_chain_that_makes_no_sense_is_told_at_the_stage(wrong, stages, start, message):
    [(place, found)] = wrong(f"{{label: p, stages: {stages}}}")
    assert place.startswith(start)
    assert found.startswith(message)


def test_a_chain_is_checked_by_the_clock_of_every_task(wrong, read, valid):
    text = "{label: p, stages: [initialize, {train: {until: 6ep}}, {prune: {by: saliency}}, train]}"
    [(place, message)] = wrong(text)
    assert place == "train]}"
    assert message.startswith("stages.3: Train(until='end'")
    longer = valid.replace("epochs: 4", "epochs: 9").replace("  - coin\n", f"  - {text}\n")
    assert read(longer)


def test_a_chain_is_not_checked_by_the_clock_of_a_broken_task(read, valid):
    line = "{label: p, stages: [initialize, {prune: {by: saliency}}, {train: {until: 99ep}}, train]}"
    assert read(valid.replace("- coin\n", f"- {line}\n").replace("dataset: scans", "dataset: lost"))


def test_a_chain_that_knows_no_target_has_one_sparsity(wrong, entry):
    told = (
        "stages: no density is `target`, so all sparsities would be the same: give `sparsities` with this one sparsity"
    )
    settled = "stages: [initialize, {prune: {by: saliency, density: 0.5}}, train]"
    for own in ("", "sparsities: [0.5, 0.6], "):
        assert wrong(f"{{label: p, {own}{settled}}}") == [(f"{settled}}}", told)]
    assert entry(f"{{label: p, sparsities: [0.5], {settled}}}").sparsities == (0.5,)


STORE_FULL = (
    "{label: p, invert: true, sparsities: [0.7, 0.9], stages: [initialize,"
    " {prune: {by: saliency, density: 0.5, allocation: [[a, 0.5]], structure: {n: 2, m: 4}}},"
    " {train: {by: {name: mover, interval: 5it}, until: 50%}}, {prune: {by: {name: saliency, scale: 2}}},"
    " {rewind: {to: 50%}}, {train: {until: +10%, density: target, by: mover}}, shuffle]}"
)


def test_a_pipeline_comes_back_from_plain_values(read, valid, fakes):
    suite = read(valid.replace("  - coin\n", f"  - {STORE_FULL}\n"))
    plain = json.loads(json.dumps(to_plain(suite)))
    assert from_plain(plain, fakes) == suite
    for trial in suite.trials():
        assert trial_from_plain(json.loads(json.dumps(trial_to_plain(trial))), fakes) == trial
    entry = plain["methods"][1]
    assert (entry["label"], entry["invert"], entry["sparsities"]) == ("p", True, [0.7, 0.9])
    assert entry["stages"][0] == {"initialize": {}}
    assert entry["stages"][3] == {
        "prune": {
            "by": {"name": "saliency", "batches": 1, "scale": 2.0},
            "density": "target",
            "allocation": "global",
            "rounds": 1,
            "invert": False,
            "structure": None,
        }
    }
    assert read(json.dumps(plain)) == suite


def test_a_trial_of_a_pipeline_without_target_comes_back(read, valid, fakes):
    line = "{label: p, sparsities: [0.5], stages: [initialize, {prune: {by: saliency, density: 0.5}}]}"
    suite = read(valid.replace("- coin\n", f"- {line}\n"))
    [trial, *_] = [trial for trial in suite.trials() if trial.entry.label == "p"]
    assert trial.sparsity == 0.5
    assert trial_from_plain(trial_to_plain(trial), fakes) == trial


def test_a_setting_reaches_into_a_stage(read, valid):
    text = valid.replace("  - coin\n", "  - {label: p, stages: [initialize, {prune: {by: saliency}}, train]}\n")
    changed = read(
        text,
        "methods.0.stages.1.prune.by.batches=7",
        "methods.0.stages.1.prune.density=0.5",
        "methods.0.sparsities=[0.5]",
    )
    prune = chain(changed.entries[1])[1]
    assert (prune.by.batches, prune.density, changed.entries[1].sparsities) == (7, 0.5, (0.5,))


@pytest.fixture
def fresh_stage(monkeypatch):
    """A stage that somebody adds to the house."""

    @dataclass(frozen=True)
    class Polish(stages.Stage):
        """Make it shine."""

        calls = "scores"

        grain: Annotated[int, Ge(1)]
        by: Method | None = None
        density: float | None = None

    monkeypatch.setattr(stages, "Polish", Polish, raising=False)
    return Polish


def test_a_new_stage_needs_nothing_here(fresh_stage, entry, wrong, fakes):
    line = "{{label: p, stages: [initialize, {{prune: {{by: saliency}}}}, {{polish: {{grain: {}, by: saliency}}}}]}}"
    saliency = fakes.components["method"]["saliency"]
    assert chain(entry(line.format(3)))[2] == fresh_stage(grain=3, by=saliency())
    told = "stages.2.polish.grain: must be a whole number of at least 1, not 0"
    assert wrong(line.format(0)) == [("0, by: saliency}}]}", told)]
    found = suite_schema(fakes)["properties"]["methods"]["items"]["anyOf"][-1]["properties"]["stages"]["items"]["anyOf"]
    [spelt] = [one["properties"]["polish"] for one in found if "polish" in one.get("properties", {})]
    assert spelt["properties"]["grain"] == {"type": "integer", "minimum": 1}
    assert spelt["required"] == ["grain"]


def test_every_stage_of_the_house_has_its_key():
    classes = {cls for cls in stages.Stage.__subclasses__() if cls.__module__ == stages.__name__}
    assert set(stage_classes().values()) == classes
    assert all(name.replace("_", "") == cls.__name__.lower() for name, cls in stage_classes().items())
    assert stage_classes()["prune_layerwise"] is stages.PruneLayerwise
    assert {"initialize", "train", "prune", "shuffle", "rewind", "reinitialize"} <= set(stage_classes())


# --- with the built-in methods

SUITE = """\
name: small
tasks:
  - dataset: digits
    model: {name: mlp, hidden: [12]}
    recipe: {epochs: 2, batch_size: 100, optimizer: {name: sgd, lr: 0.1, momentum: 0.9}}
methods:
  - {name: imp, rewind_to: 3it}
  - label: by-hand
    stages:
      - initialize
      - train: {until: 3it}
      - train
      - prune: {by: magnitude, density: 0.8}
      - rewind: {to: 15%, optimizer: true}
      - train: {until: 9it}
      - train: {until: end}
      - prune: {by: magnitude}
      - rewind: {to: 3it, optimizer: true}
      - train
  - {name: snip, batches: 2}
  - {label: snip-by-hand, stages: [initialize, {prune: {by: {name: snip, batches: 2}}}, train]}
  - {label: shuffled, shuffle: true, stages: [initialize, {prune: {by: {name: snip, batches: 2}}}, train]}
sparsities: [0.36]
seeds: 1
"""


@pytest.fixture
def planned(tmp_path, registry):
    (tmp_path / "suite.yaml").write_text(SUITE)
    trials = read_suite(tmp_path / "suite.yaml", registry).trials()
    return {planned.trial.entry.label: planned for planned in make_plan(trials, {}).trials}


def test_a_pipeline_has_the_keys_of_the_method_with_its_stages(planned):
    assert planned["by-hand"].key == planned["imp"].key
    assert set(planned["imp"].chain) < set(planned["by-hand"].chain)  # that one stops once more, at step 9
    assert planned["snip-by-hand"].chain == planned["snip"].chain
    assert planned["shuffled"].chain[:2] == planned["snip"].chain[:2]
    assert planned["by-hand"].identity != planned["imp"].identity


def test_pipelines_are_told_apart_by_what_their_methods_are(planned, registry):
    found = [planned[label] for label in ("by-hand", "snip-by-hand", "shuffled", "snip")]
    assert len({variant(one) for one in found}) == 4
    trial = planned["snip-by-hand"].trial
    again = PlannedTrial(
        trial_from_plain(trial_to_plain(trial), prunebench_registry()), found[1].protocol, found[1].chain
    )
    assert variant(again) == variant(found[1])


def prunebench_registry():
    from prunebench.api import plugins

    return plugins.load()


def test_the_parts_of_a_pipeline_are_the_methods_in_it(method):
    snip, magnitude = method("snip"), method("magnitude")
    composed = Pipeline(chain=(Initialize(), Prune(by=snip, density=0.5), Train(), Prune(by=magnitude, density=0.1)))
    assert list(composed.parts) == [snip, magnitude]
    assert not composed.has_target


def test_reading_a_pipeline_needs_nothing_heavy(tmp_path):
    (tmp_path / "suite.yaml").write_text("name: x\ntasks: []\nmethods: [{label: p, stages: [initialize, train]}]\n")
    code = (
        "import sys\nfrom prunebench.suite import read_suite\nfrom prunebench.api.registry import Registry\n"
        "try:\n    read_suite(sys.argv[1], Registry(components={'method': {}}))\nexcept Exception as error: pass\n"
        "print(*sys.modules)"
    )
    run = [sys.executable, "-c", code, str(tmp_path / "suite.yaml")]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert {"torch", "timm", "mlflow", "pandas"}.isdisjoint(done.stdout.split())


def test_a_pipeline_may_begin_with_the_weights_of_a_file(read, valid, fakes, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"any")
    stages = f"[initialize: {{weights: {{file: {tmp_path / 'w.safetensors'}, prefix: net.}}}}, shuffle]"
    text = (
        f"{{label: p, sparsities: [0.7], stages: {stages.replace('shuffle', 'prune: {by: saliency, density: 0.3}')}}}"
    )
    suite = read(valid.replace("  - coin\n", f"  - {text}\n"))
    [first, *_] = suite.entries[1].method.chain
    assert first.start.prefix == "net."
    assert from_plain(json.loads(json.dumps(to_plain(suite))), fakes) == suite
    alone = text.replace(", prefix: net.}", "").replace("{file: ", "")
    [short, *_] = read(valid.replace("  - coin\n", f"  - {alone}\n")).entries[1].method.chain
    assert short == replace(first, weights=replace(first.weights, prefix=""))


@pytest.mark.parametrize(
    ("stage", "options"),
    [
        (
            "prune_layerwise: {by: {name: wanda, structure: {n: 2, m: 4}, examples: 32, reconstruct: true}}",
            {"structure": Structure(2, 4), "examples": 32, "reconstruct": True, "allocation": "uniform"},
        ),
        (
            "prune_layerwise: {by: {name: wanda, structure: {n: 2, m: 4}}, structure: null, examples: 9}",
            {"structure": None, "examples": 9},
        ),
        ("prune: {by: {name: random, allocation: erk}}", {"allocation": "erk", "rounds": 1}),
        ("prune: {by: synflow}", {"rounds": 100}),
        ("prune: {by: synflow, rounds: 3}", {"rounds": 3}),
        ("cut: {by: l1-filters}", {"allocation": "uniform", "align": 1}),
        ("cut: {by: {name: taylor-channels, align: 8, exclude: [^stem]}}", {"align": 8, "exclude": ("^stem",)}),
        ("cut: {by: taylor-channels, allocation: uniform}", {"allocation": "uniform"}),
    ],
)
def test_a_stage_prunes_as_the_parameters_of_its_method_say(stage, options, registry, tmp_path):
    text = f"""\
name: s
tasks: [{{dataset: digits, model: mlp, recipe: {{epochs: 1, batch_size: 8, optimizer: {{name: sgd, lr: 0.1}}}}}}]
methods: [{{label: p, stages: [initialize, train, {{{stage}}}]}}]
sparsities: [0.5]
seeds: 1
"""
    (tmp_path / "s.yaml").write_text(text)
    suite = read_suite(tmp_path / "s.yaml", registry)
    [trial] = [trial for trial in suite.trials() if trial.entry.label == "p"]
    pruning = chain(trial.entry)[2]
    assert {key: getattr(pruning, key) for key in options} == options


def test_a_parameter_that_means_something_else_is_not_taken_over(wrong, entry, fakes):
    class Odd(fakes.components["method"]["saliency"]):
        name = "odd"

        def stages(self, trial):
            yield Initialize()
            yield Prune(by=self, density=trial.density, rounds=-1)

    fakes.components["method"]["odd"] = Odd
    message = (
        "stages.1.prune: allocation, rounds, structure of method 'odd' cannot be those of this stage;"
        " give them as its keys"
    )
    assert wrong("{label: p, stages: [initialize, {prune: {by: odd}}]}") == [("{by: odd}}]}", message)]
    assert chain(entry("{label: p, stages: [initialize, {prune: {by: odd, rounds: 2}}]}"))[1].rounds == 2


@pytest.mark.parametrize(
    ("stage", "key"),
    [
        ("cut: {by: {name: l2-filters, finetune: 5ep}}", "finetune"),
        ("cut: {by: {name: l2-filters, rewind_to: 50%}}", "rewind_to"),
        ("prune: {by: {name: magnitude, finetune: 5ep}}", "finetune"),
        ("prune_layerwise: {by: {name: wanda, finetune: 5ep}}", "finetune"),
    ],
)
def test_a_stage_that_prunes_refuses_what_its_method_does_afterwards(tmp_path, stage, key):
    pipeline = f"{{label: p, stages: [initialize, train, {{{stage}}}]}}"
    suite = runs.write_suite(
        tmp_path,
        f"""
name: tiny
tasks: [{{dataset: digits, model: mlp, recipe: {{epochs: 1, batch_size: 64, optimizer: {{name: sgd, lr: 0.1}}}}}}]
methods: [{pipeline}]
sparsities: [0.5]
seeds: 1
""",
    )
    with pytest.raises(SuiteError) as caught:
        read_suite(suite, plugins.load())
    assert f"{key}: the stage {stage.partition(':')[0]} does not train; list `train`" in str(caught.value)
