"""From YAML to a suite and back; and everything that can be wrong with one, told at once."""

import json
import re
import subprocess
import sys
import time
import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunebench.api import plugins
from prunebench.api.errors import BrokenDataset, SuiteError
from prunebench.api.registry import Registry
from prunebench.api.tasks import Optimizer, Prunable, Recipe, Schedule
from prunebench.suite import from_plain, read_suite, to_plain, trial_from_plain, trial_to_plain
from tests import suites


@pytest.fixture
def replaced(valid):
    """The valid suite with one piece of its text replaced."""

    def replaced(old, new):
        assert valid.count(old) == 1
        return valid.replace(old, new)

    return replaced


def test_a_suite_is_read_as_it_is_written(read, valid, fakes):
    suite = read(valid)
    [task] = suite.tasks
    dense, coin, ladder = suite.entries
    assert (suite.name, suite.description, suite.sparsities, suite.seeds) == ("small", "", (0.8, 0.95), (0, 1, 2))
    assert (task.label, task.prunable) == ("scans-net", Prunable())
    assert task.recipe == Recipe(optimizer=Optimizer(name="adam", lr=1.2e-3), batch_size=64, epochs=4)
    assert task.dataset == fakes.components["dataset"]["scans"]()
    assert task.model == fakes.components["model"]["net"](hidden=(30, 10))
    assert (dense.label, coin.label, ladder.label) == ("dense", "coin", "ladder")
    assert ladder.method == fakes.components["method"]["ladder"](rate=0.3)
    assert [ladder.shuffle, ladder.reinitialize, ladder.invert] == [False] * 3


def test_every_part_of_a_suite_can_be_written_out(read, replaced):
    text = replaced("  - dataset: scans\n", "  - dataset: {name: scans, size: 500}\n    label: my.task_1\n")
    text = text.replace(
        "  - coin\n", "  - {name: coin, label: mixed, shuffle: true, reinitialize: true, invert: true}\n"
    )
    text = text.replace(
        "lr: 1.2e-3}}\n",
        "lr: 1}, schedule: {name: multistep, milestones: [2ep, 80%], warmup: 5it, gamma: 0.2},"
        " validation: 499, augmentation: [flip, crop], clip_norm: 1, precision: bfloat16}\n"
        "    prunable: {first: false, last: false, exclude: ['fc.*']}\n",
    )
    suite = read(f"{text}description: |\n  two\n  lines\n".replace("seeds: 3", "seeds: [5, 2]"))
    [task] = suite.tasks
    assert (suite.seeds, suite.description, task.label, task.dataset.size) == ((5, 2), "two\nlines\n", "my.task_1", 500)
    assert task.recipe.schedule == Schedule(name="multistep", milestones=("2ep", "80%"), warmup="5it", gamma=0.2)
    assert (task.recipe.augmentation, task.recipe.clip_norm) == (("flip", "crop"), 1.0)
    assert task.prunable == Prunable(first=False, last=False, exclude=("fc.*",))
    mixed = suite.entries[1]
    assert (mixed.label, mixed.shuffle, mixed.reinitialize, mixed.invert) == ("mixed", True, True, True)


def test_an_entry_can_have_sparsities_of_its_own(read, replaced, fakes):
    suite = read(replaced("  - coin\n", "  - {name: coin, sparsities: [0.5]}\n"))
    assert [entry.sparsities for entry in suite.entries] == [None, (0.5,), None]
    found = {(trial.entry.label, trial.sparsity) for trial in suite.trials()}
    assert found == {("dense", 0.0), ("coin", 0.5), ("ladder", 0.8), ("ladder", 0.95)}
    assert from_plain(json.loads(json.dumps(to_plain(suite))), fakes) == suite


def test_what_other_sparsities_there_are_is_no_fact_of_a_trial(read, valid, replaced, fakes):
    several = read(replaced("  - coin\n", "  - {name: coin, sparsities: [0.5, 0.8]}\n"))
    found = {trial.sparsity: trial for trial in several.trials() if trial.entry.label == "coin"}
    assert set(found) == {0.5, 0.8}
    assert found[0.8] in list(read(valid).trials())
    plain = trial_to_plain(found[0.5])
    assert "sparsities" not in plain["method"]
    assert trial_from_plain(plain, fakes) == found[0.5]


def test_the_control_comes_first_unless_the_suite_lists_it(read, valid, replaced):
    assert [entry.label for entry in read(valid).entries] == ["dense", "coin", "ladder"]
    listed = read(replaced("  - coin\n", "  - coin\n  - {name: dense, label: unpruned}\n"))
    assert [entry.label for entry in listed.entries] == ["coin", "unpruned", "ladder"]


def test_a_name_with_a_slash_gives_a_parameter_and_a_label_for_files(read, replaced):
    suite = read(replaced("{name: net, hidden: [30, 10]}", "family/deep.1"))
    assert suite.tasks[0].model.member == "deep.1"
    assert suite.tasks[0].label == "scans-family-deep.1"
    spelt = read(replaced("{name: net, hidden: [30, 10]}", "{name: family/deep, stem: small}"))
    assert (spelt.tasks[0].model.member, spelt.tasks[0].model.stem) == ("deep", "small")


def test_a_preset_gives_parameters_and_explicit_ones_win(read, replaced):
    ladder = read(replaced("rate: 0.3", "preset: paper")).entries[2].method
    assert (ladder.rate, ladder.widths) == (0.1, (1, 2))
    ladder = read(replaced("rate: 0.3", "preset: paper, rate: 0.5")).entries[2].method
    assert (ladder.rate, ladder.widths) == (0.5, (1, 2))


def test_an_anchor_serves_several_tasks(read, replaced):
    text = replaced("recipe: {", "recipe: &recipe {") + "more: 1\n"
    second = "  - {dataset: scans, model: net, label: b, recipe: {<<: *recipe, epochs: 9}}\nmethods:"
    suite = read(text.replace("more: 1\n", "").replace("methods:", second))
    assert [task.recipe.epochs for task in suite.tasks] == [4, 9]
    assert suite.tasks[1].recipe.optimizer == suite.tasks[0].recipe.optimizer


PLANTED = """\
name: a suite
descripton: x
tasks:
  - dataset: scan
    model: {name: net, hidden: [30, 0, a], hiden: 3}
    recipe:
      epochs: 4.5
      steps: 2
      batch_size: true
      optimizer: {name: adam, lr: -1, betas: [0.9], momentum: 1}
      schedule: {name: multistep, milestones: [3, 5epp], gamma: x, warmup: +1ep}
      precision: flaot32
      clip_norm: flip
      evaluate_every: sometimes
  - {dataset: scans, model: family/a, recipe: {epochs: 3, steps: 3, batch_size: 3, optimizer: {name: adam, lr: 0}}}
  - {dataset: scans, model: net, recipe: {epochs: 3, batch_size: 3, optimizer: {name: sgd, lr: 1, nesterov: true}}}
  - dataset: scans
    model: net
    label: a/b
    recipe: {epochs: 3, batch_size: 3, optimizer: {name: adam, lr: 1}, validation: 1000}
    prunable: {first: 1, exclude: ["ok", "("]}
  - {dataset: lost, model: {name: family/a, member: b}, recipe: {epochs: 3, batch_size: 3, optimizer: {lr: 1}}}
  - 3
methods:
  - coin
  - {name: coin, allocation: globl}
  - {name: ladder, rewind_to: 5x, rate: 1, iterative: 1, levels: 0}
  - {name: ladder, reinitialise: true, label: 3}
  - {name: dense, shuffle: true}
  - {name: ladder, preset: papr, label: a}
  - {name: ladder, preset: wrong, label: b}
  - {name: ladder, levels: 13, label: c}
  - {name: ladder, levels: 14, label: d}
  - {label: y}
  - [a]
  - null
  - {name: ambiguous}
  - unreadable
sparsities: [0.8, 0.80, 1, 0, x]
seeds: [1, 1, -1]
seeds: 3
when: 2024-01-01
"""

FOUND = """\
1:7: name: 'a suite' is not a valid label: use at most 100 letters, digits and ._-, and no dot first
2:1: descripton: unknown key; did you mean 'description'?
4:14: tasks.0.dataset: unknown dataset 'scan'; did you mean 'scans'?
    note: plugin 'spoilt' (spoilt.py) could not be loaded: ImportError: no module
5:37: tasks.0.model.hidden.1: must be a whole number of at least 1, not 0
5:40: tasks.0.model.hidden.2: must be a whole number of at least 1, not 'a'
5:44: tasks.0.model.hiden: unknown key; did you mean 'hidden'?
7:15: tasks.0.recipe.epochs: must be a whole number of at least 1, not 4.5
9:19: tasks.0.recipe.batch_size: must be a whole number of at least 1, not true
10:35: tasks.0.recipe.optimizer.lr: must be a number above 0, not -1
10:46: tasks.0.recipe.optimizer.betas: must be a list (2 to 3 items) of numbers of at least 0 and below 1, not [0.9]
10:63: tasks.0.recipe.optimizer.momentum: must be a number of at least 0 and below 1, not 1
11:48: tasks.0.recipe.schedule.milestones.0: 3 is not a time: write 0, end, steps like 500it, epochs like 2ep, \
or a share like 5%
11:51: tasks.0.recipe.schedule.milestones.1: '5epp' is not a time: write 0, end, steps like 500it, epochs like 2ep, \
or a share like 5%
11:65: tasks.0.recipe.schedule.gamma: must be a number above 0, not 'x'
11:76: tasks.0.recipe.schedule.warmup: '+1ep' counts from the current step; write it without the +
12:18: tasks.0.recipe.precision: must be 'float32' or 'bfloat16', not 'flaot32'; did you mean 'float32'?
13:18: tasks.0.recipe.clip_norm: must be a number above 0, not 'flip'
14:23: tasks.0.recipe.evaluate_every: 'sometimes' is not a time: write 0, end, steps like 500it, epochs like 2ep, \
or a share like 5%
15:47: tasks.1.recipe: give either epochs or steps
15:112: tasks.1.recipe.optimizer.lr: must be a number above 0, not 0
16:80: tasks.2.recipe.optimizer: nesterov needs a momentum above 0
19:12: tasks.3.label: 'a/b' is not a valid label: use at most 100 letters, digits and ._-, and no dot first
20:84: tasks.3.recipe.validation: must be below 1000, the training examples of 'scans', not 1000
21:23: tasks.3.prunable.first: must be true or false, not 1
21:42: tasks.3.prunable.exclude.1: '(' is not a regular expression: missing ), unterminated subpattern at position 0
22:45: tasks.4.model.member: the name 'family/a' already sets this
22:92: tasks.4.recipe.optimizer.name: is missing
23:5: tasks.5: must be a mapping with dataset, model and recipe, not 3
26:5: methods.1: 'coin' is also the label of methods.0: give one of them another label
26:30: methods.1.allocation: must be 'global' or 'erk', not 'globl'; did you mean 'global'?
27:31: methods.2.rewind_to: '5x' is not a time: write 0, end, steps like 500it, epochs like 2ep, or a share like 5%
27:41: methods.2.rate: must be a number above 0 and below 1, not 1
27:55: methods.2.iterative: must be true or false, not 1
27:66: methods.2.levels: must be a whole number of at least 1, not 0
28:20: methods.3.reinitialise: unknown key; did you mean 'reinitialize'?
28:47: methods.3.label: must be text, not 3
29:28: methods.4.shuffle: 'dense' is the control, which is not pruned: remove this
30:28: methods.5.preset: unknown preset 'papr'; did you mean 'paper'?
31:28: methods.6.preset.rat: unknown key; did you mean 'rate'?
31:28: methods.6.preset.rate: must be a number above 0 and below 1, not 2
32:28: methods.7.levels: 13 levels bring no luck
33:12: methods.8.name: method 'ladder' cannot be used: ZeroDivisionError: by the author's mistake
34:5: methods.9.name: is missing
35:5: methods.10: must be the name of a method, or a mapping with a name, not a list
36:5: methods.11: must be the name of a method, or a mapping with a name, not nothing
37:12: methods.12.name: method 'ambiguous' cannot be used: TypeError: its parameter 'invert' has the name of a key \
that suites already use
38:5: methods.13: method 'unreadable' cannot be used: NameError: name 'NoSuchType' is not defined
39:19: sparsities.1: 0.8 is listed twice
39:25: sparsities.2: must be a number above 0 and below 1, not 1
39:28: sparsities.3: must be a number above 0 and below 1, not 0
39:31: sparsities.4: must be a number above 0 and below 1, not 'x'
40:8: seeds: must be a whole number from 1 to 10000 or a non-empty list of whole numbers of at least 0, \
not [1, 1, -1]
40:12: seeds.1: 1 is listed twice
41:1: seeds: is given twice; the first is on line 40
42:1: when: unknown key; choose from name, tasks, methods, sparsities, seeds, description, resources, runtimes, \
latency, profiles, profile, reductions
42:7: when: '2024-01-01' is read as a date: write it in quotes
"""


def test_everything_that_is_wrong_is_told_at_once_with_its_place(mistakes):
    found = [line.removeprefix("suite.yaml:") for line in mistakes(PLANTED)]
    assert "\n".join(found) == FOUND.rstrip()


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("name: small\n", "", "suite.yaml:1:1: name: is missing"),
        ("seeds: 3", "seeds: 0", "suite.yaml:10:8: seeds: must be {seeds}, not 0"),
        ("seeds: 3", "seeds: 10001", "suite.yaml:10:8: seeds: must be {seeds}, not 10001"),
        ("seeds: 3", "seeds: 1.0", "suite.yaml:10:8: seeds: must be {seeds}, not 1.0"),
        ("seeds: 3", "seeds: []", "suite.yaml:10:8: seeds: must be {seeds}, not an empty list"),
        ("seeds: 3", "seeds: [0, -1]", "suite.yaml:10:8: seeds: must be {seeds}, not [0, -1]"),
        ("seeds: 3", "seeds: [0, 3, 0]", "suite.yaml:10:15: seeds.2: 0 is listed twice"),
        ("seeds: 3", "seeds:", "suite.yaml:10:1: seeds: must be {seeds}, not nothing"),
        (
            "sparsities: [0.8, 0.95]",
            "sparsities: 0.8",
            "suite.yaml:9:13: sparsities: must be a non-empty list of numbers above 0 and below 1, not 0.8",
        ),
        ("name: small", "name: .a", "suite.yaml:1:7: name: '.a' is not a valid label: {label}"),
        ("name: small", "name: a/b", "suite.yaml:1:7: name: 'a/b' is not a valid label: {label}"),
        ("name: small", "name: é", "suite.yaml:1:7: name: 'é' is not a valid label: {label}"),
        ("name: small", 'name: "a\\n"', "suite.yaml:1:7: name: 'a\\n' is not a valid label: {label}"),
        ("name: small", "name: ''", "suite.yaml:1:7: name: '' is not a valid label: {label}"),
        ("name: small", f"name: {'a' * 101}", "suite.yaml:1:7: name: 'aaaaaaaaaa"),
        ("- dataset: scans\n    ", "- ", "suite.yaml:3:5: tasks.0.dataset: is missing"),
        (
            "dataset: scans",
            "dataset: [scans]",
            "suite.yaml:3:14: tasks.0.dataset: must be the name of a dataset, or a mapping with a name, not a list",
        ),
        ("hidden: [30, 10]", "hidden: []", "suite.yaml:4:32: tasks.0.model.hidden: must be a non-empty list of whole "),
        ("lr: 1.2e-3", "lr: '1e-3'", "suite.yaml:5:69: tasks.0.recipe.optimizer.lr: must be a number above 0, not '1e"),
        ("seeds: 3", "seeds: 3\n---\na: 1", "suite.yaml:11:1: is not YAML: expected a single document in the stream"),
        (
            "- coin\n",
            "- {name: coin, label: dense}\n",
            "suite.yaml:7:25: methods.0.label: 'dense' is also the label of the control in every suite: give one",
        ),
        ("- coin\n", "- {name: coin, preset: p}\n", "suite.yaml:7:26: methods.0.preset: unknown preset 'p'; 'coin'"),
        ("- coin\n", "- {name: coin, depth: 1}\n", "suite.yaml:7:18: methods.0.depth: unknown key; choose from name, "),
        (
            "- coin\n",
            "- {name: coin, sparsities: 0.5}\n",
            "suite.yaml:7:30: methods.0.sparsities: must be a non-empty list of numbers above 0 and below 1, not 0.5",
        ),
        ("- coin\n", "- {name: coin, sparsities: []}\n", "suite.yaml:7:30: methods.0.sparsities: must be a non-empty"),
        ("- coin\n", "- {name: coin, sparsities: [0.5, 1]}\n", "suite.yaml:7:36: methods.0.sparsities.1: must be a"),
        ("- coin\n", "- {name: coin, sparsities: [0.5, 0.5]}\n", "suite.yaml:7:36: methods.0.sparsities.1: 0.5 is"),
        (
            "- coin\n",
            "- {name: dense, sparsities: [0.5]}\n",
            "suite.yaml:7:31: methods.0.sparsities: 'dense' is the control, which is not pruned: remove this",
        ),
    ],
)  # fmt: skip
def test_a_mistake_says_what_is_allowed_and_what_was_given(mistakes, replaced, old, new, line):
    seeds = "a whole number from 1 to 10000 or a non-empty list of whole numbers of at least 0"
    label = "use at most 100 letters, digits and ._-, and no dot first"
    expected = line.format(seeds=seeds, label=label)
    assert [one for one in mistakes(replaced(old, new)) if one.startswith(expected)] != []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "suite.yaml:1:1: must be a mapping with name, tasks, methods, sparsities and seeds, not nothing"),
        ("- a", "suite.yaml:1:1: must be a mapping with name, tasks, methods, sparsities and seeds, not a list"),
        ("a: [", "suite.yaml:1:5: is not YAML: while parsing a flow node: expected the node content, but found '"),
        (b"\xff", "suite.yaml: is not UTF-8 text: line 1 has the byte 0xff"),
    ],
)
def test_a_file_that_is_no_suite_at_all_is_one_mistake(mistake, text, line):
    assert mistake(text).startswith(line)


def test_rules_are_checked_beside_wrong_values(mistakes, replaced):
    assert mistakes(replaced("rate: 0.3", "levels: 13, iterative: 3")) == [
        "suite.yaml:8:28: methods.1.levels: 13 levels bring no luck",
        "suite.yaml:8:43: methods.1.iterative: must be true or false, not 3",
    ]


def test_what_a_class_says_stays_on_one_line(mistake, replaced):
    assert mistake(replaced("rate: 0.3", "levels: 15")).endswith(": methods.1.levels: 15 levels are too many")
    assert mistake(replaced("rate: 0.3", "levels: 16")).endswith(": methods.1: is not allowed")


def test_mistakes_are_told_also_where_there_is_no_schema_to_explain_them(mistake, replaced):
    assert mistake(replaced("- coin\n", "- {name: opaque, depth: x}\n")) == (
        "suite.yaml:7:27: methods.0.depth: must be a valid integer, not 'x'"
    )


def test_a_rule_is_not_blamed_on_a_key_that_is_misspelt(mistake, replaced):
    assert mistake(replaced("epochs: 4", "epoch: 4")) == (
        "suite.yaml:5:14: tasks.0.recipe.epoch: unknown key; did you mean 'epochs'?"
    )


def test_two_tasks_of_one_label_are_a_mistake(mistake, replaced):
    text = replaced(
        "methods:",
        "  - {dataset: scans, model: net, recipe: {epochs: 1, batch_size: 1, optimizer: {name: sgd, lr: 1}}}\nmethods:",
    )
    assert mistake(text) == (
        "suite.yaml:6:5: tasks.1: 'scans-net' is also the label of tasks.0: give one of them another label"
    )


def test_an_optimizer_is_looked_up_in_timm_only_when_torch_has_none_of_that_name(mistake, replaced, read, monkeypatch):
    optim = types.ModuleType("optim")
    optim.list_optimizers = lambda: ["lamb", "lion"]
    optim.get_optimizer_info = lambda name: types.SimpleNamespace(
        opt_class=dict, second_order=False, has_eps=False, has_betas=True, num_betas=2
    )
    optim.Adafactor = object
    optim.get_optimizer_class = lambda name, bind_defaults: lambda params, lr, betas, eps, weight_decay: None
    timm = types.ModuleType("timm")
    timm.optim = optim
    monkeypatch.setitem(sys.modules, "timm", timm)
    assert read(replaced("name: adam", "name: lion")).tasks[0].recipe.optimizer.name == "lion"
    assert mistake(replaced("name: adam", "name: lino")) == (
        "suite.yaml:5:59: tasks.0.recipe.optimizer.name: unknown optimizer 'lino'; did you mean 'lion'?"
    )
    assert mistake(replaced("name: adam", "name: lion, eps: 0.1, betas: [0.9, 0.99]")) == (
        "suite.yaml:5:70: tasks.0.recipe.optimizer.eps: lion has no eps; it has lr, betas, weight_decay"
    )
    monkeypatch.setitem(sys.modules, "timm", None)
    assert read(replaced("name: adam", "name: adamw"))


def test_values_are_the_same_whether_defaults_were_left_out_or_not(read, valid, fakes):
    ladder = read(valid).entries[2].method
    assert type(ladder.weight) is float


def test_plain_values_give_the_suite_back(read, valid, fakes):
    suite = read(valid)
    plain = json.loads(json.dumps(to_plain(suite), allow_nan=False))
    assert from_plain(plain, fakes) == suite
    assert to_plain(from_plain(plain, fakes)) == plain


def test_the_plain_form_is_itself_a_suite_with_nothing_left_to_defaults(read, valid):
    suite = read(valid)
    plain = to_plain(suite)
    assert read(json.dumps(plain)) == suite
    assert plain["methods"][2] == {
        "label": "ladder",
        "name": "ladder",
        "rate": 0.3,
        "rewind_to": 0,
        "levels": None,
        "widths": [3, 3],
        "weight": 1.0,
        "iterative": True,
        "shuffle": False,
        "reinitialize": False,
        "invert": False,
    }
    assert plain["tasks"][0]["model"] == {"name": "net", "hidden": [30, 10]}
    assert plain["seeds"] == [0, 1, 2]


def test_a_number_is_that_of_a_further_draw_of_new_weights(read, replaced):
    suite = read(replaced("- coin", "- {name: coin, label: c, reinitialize: 3}"))
    assert suite.entries[1].reinitialize == 3
    assert read(json.dumps(to_plain(suite))) == suite
    for wrong in ("1", "0", "-2", "1.5"):
        with pytest.raises(SuiteError, match="reinitialize"):
            read(replaced("- coin", f"- {{name: coin, label: c, reinitialize: {wrong}}}"))


def test_plain_values_give_every_trial_back(read, replaced, fakes):
    suite = read(replaced("- coin", "- {name: coin, label: c, shuffle: true}"))
    for trial in suite.trials():
        plain = json.loads(json.dumps(trial_to_plain(trial), allow_nan=False))
        assert trial_from_plain(plain, fakes) == trial


def test_a_trial_is_rebuilt_in_milliseconds(read, valid, fakes):
    plain = trial_to_plain(list(read(valid).trials())[-1])
    trial_from_plain(plain, fakes)
    start = time.process_time()
    for _ in range(20):
        trial_from_plain(plain, fakes)
    assert (time.process_time() - start) / 20 < 0.005


def test_plain_values_of_what_the_registry_lacks_are_refused(read, valid):
    suite = read(valid)
    empty = Registry((), {"method": {}, "model": {}, "dataset": {}})
    with pytest.raises(SuiteError, match=r"suite: tasks\.0\.dataset\.name: unknown dataset 'scans'"):
        from_plain(to_plain(suite), empty)
    with pytest.raises(SuiteError, match=r"trial: method\.name: unknown method 'ladder'"):
        trial_from_plain(trial_to_plain(list(suite.trials())[-1]), empty)


@settings(max_examples=50, deadline=None)
@given(
    lr=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    sparsity=st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True),
)
def test_floats_survive_to_the_last_bit(valid_once, fakes, tmp_path_factory, lr, sparsity):
    path = tmp_path_factory.getbasetemp() / "floats.yaml"
    blank = valid_once.replace("1.2e-3", "LR").replace("0.95", "SPARSITY").replace("0.8, ", "")
    path.write_text(blank.replace("LR", repr(lr)).replace("SPARSITY", repr(sparsity)))
    suite = read_suite(path, fakes)
    assert (suite.tasks[0].recipe.optimizer.lr, suite.sparsities) == (lr, (sparsity,))
    assert from_plain(json.loads(json.dumps(to_plain(suite))), fakes) == suite
    last = list(suite.trials())[-1]
    assert trial_from_plain(json.loads(json.dumps(trial_to_plain(last))), fakes) == last


PIECES = [
    *"\n\t -?:,[]{}#&*!|>'\"%@`=~.<\0\x85\u2028\ufeff",
    *("&a ", "*a", "<<: ", "!!int ", "!x ", "%YAML 1.1\n---\n", "...\n", "- ", ": ", "|2\n", '"\\ud800"', '"\\x"'),
    *("0x", "1e999", ".inf", ".nan", "2024-01-01", "12:30", "1_0", "9" * 50, "null", "true", "\n\n", "  "),
    *("name", "recipe: ", "preset: ", "label: ", "dense", "family/a", "0.8", "3", "5ep", "end"),
]
SPLICES = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from([0, 0, 1, 3, 10, 100]), st.sampled_from(PIECES) | st.text(max_size=3)),
    min_size=1,
    max_size=4,
)


def read_or_message(path, registry):
    try:
        return read_suite(path, registry), ""
    except SuiteError as error:
        return None, str(error)


@settings(max_examples=150, deadline=None)
@given(splices=SPLICES)
def test_whatever_a_file_holds_it_is_a_suite_or_a_suite_error(valid_once, fakes, tmp_path_factory, splices):
    text = valid_once
    for share, removed, piece in splices:
        at = int(share * len(text))
        text = text[:at] + piece + text[at + removed :]
    path = tmp_path_factory.getbasetemp() / "spliced.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    suite, message = read_or_message(path, fakes)
    assert all(line.startswith((str(path), "    note: ")) for line in message.splitlines())
    assert message.encode() or from_plain(to_plain(suite), fakes) == suite


def test_there_are_suites():
    assert "digits.yaml" in [path.name for path in suites.SUITES]


@pytest.mark.parametrize("path", suites.parametrized())
def test_the_suites_that_come_along_are_read_and_come_back(path):
    registry = plugins.load()
    suite = read_suite(path, registry)
    assert suite.name == path.stem
    assert any(entry.method.control for entry in suite.entries)
    assert from_plain(json.loads(json.dumps(to_plain(suite), allow_nan=False)), registry) == suite


def test_importing_the_suite_loads_nothing_heavy():
    code = "import sys, prunebench.suite; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"pydantic", "ruamel", "torch", "timm", "mlflow", "pandas"}.isdisjoint(done.stdout.split())


def test_messages_name_the_file_as_it_was_given(read, tmp_path, fakes):
    with pytest.raises(SuiteError, match=re.escape(f"{tmp_path}/none.yaml: there is no such file")):
        read_suite(f"{tmp_path}/none.yaml", fakes)


def test_resources_are_read_and_are_no_fact_of_a_trial(read, valid):
    plain = read(valid)
    suite = read(f"{valid}resources: {{num_cpus: 2, num_gpus: 0.25}}\n")
    assert (suite.resources.num_cpus, suite.resources.num_gpus) == (2.0, 0.25)
    assert (plain.resources.num_cpus, plain.resources.num_gpus) == (None, None)
    assert list(suite.trials()) == list(plain.trials())


@pytest.mark.parametrize("value", ["{num_cpus: 0}", "{num_gpus: -1}", "{gpus: 1}", "4", "{num_cpus: many}"])
def test_resources_that_cannot_be_are_mistakes(mistakes, valid, value):
    [line] = mistakes(f"{valid}resources: {value}\n")
    assert "resources" in line


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("levels: 17", "suite.yaml:8:12: methods.1.name: method 'ladder' cannot be used: SystemExit: 3"),
        ("levels: 17, rate: 2", "suite.yaml:8:38: methods.1.rate: must be a number above 0 and below 1, not 2"),
    ],
)
def test_a_component_that_exits_is_named(read, valid, parameters, message):
    with pytest.raises(SuiteError) as error:
        read(valid.replace("ladder, rate: 0.3", f"ladder, {parameters}"))
    assert str(error.value) == message


def test_facts_that_cannot_be_used_are_no_error_of_the_suite(read, valid):
    suite = read(valid.replace("dataset: scans", "dataset: lost"))
    with pytest.raises(BrokenDataset, match="data set 'lost': `facts` raised RuntimeError: nobody knows"):
        assert suite.tasks[0].facts
