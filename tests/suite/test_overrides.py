"""`--set` and `--only`: less than the whole file, with the option as the place of every mistake."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunebench.api.errors import SuiteError
from prunebench.suite import narrow, read_suite


@pytest.fixture
def two_tasks(valid):
    recipe = "{steps: 9, batch_size: 8, optimizer: {name: sgd, lr: 1}}"
    second = f"  - {{label: b, dataset: scans, model: family/x, recipe: {recipe}}}"
    return valid.replace("methods:", f"{second}\nmethods:")


def test_a_setting_replaces_a_value(read, valid):
    suite = read(valid, "seeds=1", "sparsities=[0.9]", "name=other", "tasks.0.recipe.optimizer.lr=1e-2")
    assert (suite.seeds, suite.sparsities, suite.name) == ((0,), (0.9,), "other")
    assert suite.tasks[0].recipe.optimizer.lr == 0.01


def test_the_last_setting_of_a_key_holds(read, valid):
    assert read(valid, "seeds=1", "seeds=[4, 5]").seeds == (4, 5)


def test_a_number_names_an_item_and_no_number_all_of_them(read, two_tasks):
    assert [task.recipe.batch_size for task in read(two_tasks, "tasks.1.recipe.batch_size=2").tasks] == [64, 2]
    assert [task.recipe.batch_size for task in read(two_tasks, "tasks.recipe.batch_size=2").tasks] == [2, 2]


def test_an_item_of_a_list_is_replaced(read, valid):
    suite = read(valid, "sparsities.1=0.99", "methods.0=dense", "tasks.0.model.hidden.0=7")
    assert suite.sparsities == (0.8, 0.99)
    assert [entry.label for entry in suite.entries] == ["dense", "ladder"]
    assert suite.tasks[0].model.hidden == (7, 10)


def test_what_the_file_leaves_out_is_added(read, valid):
    suite = read(valid, "description=why", "tasks.prunable.first=false", "tasks.0.recipe.schedule.name=cosine")
    assert suite.description == "why"
    assert not suite.tasks[0].prunable.first
    assert suite.tasks[0].recipe.schedule.name == "cosine"


def test_a_key_without_a_value_in_the_file_can_be_filled(read, valid):
    text = valid.replace("recipe: {", "prunable:\n    recipe: {")
    assert not read(text, "tasks.prunable.last=false").tasks[0].prunable.last


def test_a_component_that_is_only_named_takes_parameters(read, valid):
    suite = read(valid, "tasks.dataset.size=500", "methods.0.allocation=erk", "methods.0.label=mixed")
    assert suite.tasks[0].dataset.size == 500
    assert (suite.entries[1].label, suite.entries[1].method.allocation) == ("mixed", "erk")


def test_a_method_that_a_stage_only_names_takes_parameters(read, valid):
    text = valid.replace("- coin\n", "- {label: p, stages: [initialize, {prune: {by: saliency}}]}\n")
    prune = read(text, "methods.0.stages.1.prune.by.batches=7").entries[1].method.chain[1]
    assert prune.by.batches == 7


def test_a_value_may_hold_the_equals_sign_and_any_yaml(read, valid):
    assert read(valid, "description=a=b").description == "a=b"
    assert read(valid, "tasks.0.model={name: net, hidden: [1, 2]}").tasks[0].model.hidden == (1, 2)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("tasks.0.recipe.epoch=2", "tasks.0.recipe.epoch: unknown key; did you mean 'epochs'?"),
        ("tasks.0.recip.epochs=2", "tasks.0.recip: unknown key; did you mean 'recipe'?"),
        ("seed=1", "seed: unknown key; did you mean 'seeds'?"),
        ("tasks.0.recipe.epochs=x", "tasks.0.recipe.epochs: must be a whole number of at least 1, not 'x'"),
        ("tasks.0.recipe=3", "tasks.0.recipe: must be a mapping, not 3"),
        ("tasks.0.recipe.evaluate_every=5x", "tasks.0.recipe.evaluate_every: '5x' is not a time: "),
        ("tasks.1.label=a", "tasks has 1 items, counted from 0: there is no 1"),
        ("tasks.9999999.label=a", "tasks has 1 items, counted from 0: there is no 9999999"),
        ("name.x=1", "name is 'small', which has no 'x'"),
        ("sparsities.x=1", "sparsities.0 is 0.8, which has no 'x'"),
        ("methods.1.name=leader", "methods.1.name: unknown method 'leader'; did you mean 'ladder'?"),
        ("methods.0.allocation=er", "methods.0.allocation: must be 'global' or 'erk', not 'er'"),
        ("seeds=2024-01-01", "'2024-01-01' is read as a date: write it in quotes"),
        ("seeds=[", "is not YAML: while parsing a flow node: expected the node content, but found '<stream end>'"),
        ("seeds=", "seeds: must be a whole number from 1 to 10000 or a non-empty list of whole numbers of at least 0"),
        ("seeds", "write it as path=value, such as seeds=1 or tasks.recipe.epochs=2"),
        ("=1", "write it as path=value, such as seeds=1 or tasks.recipe.epochs=2"),
        ("tasks..recipe=1", "write it as path=value, such as seeds=1 or tasks.recipe.epochs=2"),
        (".".join("a" * 51) + "=1", "write it as path=value, such as seeds=1 or tasks.recipe.epochs=2"),
    ],
)
def test_a_mistake_in_a_setting_stands_at_the_setting(mistakes, valid, setting, message):
    assert mistakes(valid, setting)[0].startswith(f"--set {setting}: {message}")


def test_the_mistakes_of_the_file_come_first_and_those_of_settings_in_their_order(mistakes, valid):
    lines = mistakes(valid.replace("seeds: 3", "seeds: 0"), "zzz=1", "tasks.recipe.epochs=0")
    assert [line.partition(": ")[0] for line in lines] == [
        "suite.yaml:10:8",
        "--set zzz=1",
        "--set tasks.recipe.epochs=0",
    ]


def test_a_setting_mends_a_mistake_of_the_file(read, valid):
    assert read(valid.replace("seeds: 3", "seeds: 0"), "seeds=2").seeds == (0, 1)


def test_settings_of_what_is_no_mapping_are_left_alone(mistake):
    assert mistake("- a", "seeds=1").startswith("suite.yaml:1:1: must be a mapping")


@settings(max_examples=60, deadline=None)
@given(path=st.lists(st.sampled_from(["tasks", "0", "model", "recipe", "methods", "seeds", "é", "-1", ""]) | st.text()),
       value=st.text() | st.sampled_from(["&a [*a]", "{a: 1, a: 2}", "[[[", "!x 1", "3", "'"]))  # fmt: skip
def test_whatever_a_setting_says_it_is_a_suite_or_a_suite_error(valid_once, fakes, tmp_path_factory, path, value):
    file = tmp_path_factory.getbasetemp() / "set.yaml"
    file.write_text(valid_once)
    setting = f"{'.'.join(path)}={value}"
    try:
        read_suite(file, fakes, [setting])
    except SuiteError as error:
        message = str(error)
    else:
        message = ""
    assert message.startswith((f"--set {setting}: ", str(file), "" if not message else "--set"))


@pytest.fixture
def suite(read, two_tasks):
    methods = "  - {name: ladder, label: ladder-shuffled, shuffle: true}\n  - {name: coin, label: fair}\n"
    text = two_tasks.replace("  - coin\n", "  - {name: coin, label: chance}\n").replace(
        "sparsities", f"{methods}sparsities"
    )
    return read(text)


def chosen(suite, *only):
    """What is left of each axis; of the control only tasks and seeds count."""
    trials = list(filter(narrow(suite, only), suite.trials()))
    rest = [trial for trial in trials if not trial.entry.method.control]
    return {
        "task": sorted({trial.task.label for trial in trials}),
        "method": sorted({trial.entry.label for trial in trials}),
        "sparsity": sorted({trial.sparsity for trial in rest}),
        "seed": sorted({trial.seed for trial in trials}),
        "trials": len(trials),
    }


EVERYTHING = {
    "task": ["b", "scans-net"],
    "method": ["chance", "dense", "fair", "ladder", "ladder-shuffled"],
    "sparsity": [0.8, 0.95],
    "seed": [0, 1, 2],
}


@pytest.mark.parametrize(
    ("only", "change"),
    [
        ([], {"trials": 2 * 3 * (1 + 4 * 2)}),
        (["task=b"], {"task": ["b"], "trials": 27}),
        (["seed=1"], {"seed": [1], "trials": 18}),
        (["seed=0,seed=2"], {"seed": [0, 2], "trials": 36}),
        (["seed=0", "seed=2"], {"seed": [0, 2], "trials": 36}),
        (["seed=0,2"], {"seed": [0, 2], "trials": 36}),
        (["sparsity=.95"], {"sparsity": [0.95], "trials": 30}),
        (["sparsity=0.80,0.95"], {"trials": 54}),
        (["method=ladder"], {"method": ["dense", "ladder"], "trials": 18}),
        (["method=ladder*"], {"method": ["dense", "ladder", "ladder-shuffled"], "trials": 30}),
        (["method=*-shuffled"], {"method": ["dense", "ladder-shuffled"], "trials": 18}),
        (["method=coin"], {"method": ["chance", "dense", "fair"], "trials": 30}),
        (["method=fair,ladder"], {"method": ["dense", "fair", "ladder"], "trials": 30}),
        ([" method = fair , ladder "], {"method": ["dense", "fair", "ladder"], "trials": 30}),
        (["method=dense"], {"method": ["dense"], "sparsity": [], "trials": 6}),
        (
            ["method=fair,sparsity=0.8,seed=0,task=b"],
            {"task": ["b"], "method": ["dense", "fair"], "sparsity": [0.8], "seed": [0], "trials": 2},
        ),
        (
            ["method=fair", "seed=0", "method=ladder"],
            {"method": ["dense", "fair", "ladder"], "seed": [0], "trials": 10},
        ),
    ],
)
def test_values_of_a_key_are_alternatives_and_all_keys_agree(suite, only, change):
    assert chosen(suite, *only) == EVERYTHING | change


def test_the_sparsities_of_single_entries_can_be_picked_too(read, valid):
    suite = read(valid.replace("- coin\n", "- {name: coin, sparsities: [0.5, 0.8]}\n"))
    assert chosen(suite, "sparsity=0.5")["method"] == ["coin", "dense"]
    assert chosen(suite, "sparsity=0.8")["method"] == ["coin", "dense", "ladder"]
    with pytest.raises(SuiteError, match=r"no sparsity '0.9'; choose from 0.8, 0.95, 0.5$"):
        narrow(suite, ["sparsity=0.9"])


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ("methd=fair", "unknown key 'methd'; did you mean 'method'?"),
        ("method=fiar", "the suite has no method 'fiar'; did you mean 'fair'?"),
        ("method=FAIR", "the suite has no method 'FAIR'; did you mean 'fair'?"),
        ("METHOD=fair", "unknown key 'METHOD'; did you mean 'method'?"),
        ("task=Scans_Net", "the suite has no task 'Scans_Net'; did you mean 'scans-net'?"),
        ("method=coins", "the suite has no method 'coins'; did you mean 'coin'?"),
        (
            "method=zzz*",
            "the suite has no method 'zzz*'; choose from dense, chance, ladder, ladder-shuffled, fair, coin",
        ),
        ("task=scans", "the suite has no task 'scans'; did you mean 'scans-net'?"),
        ("task=ladder", "the suite has no task 'ladder'; choose from scans-net, b"),
        ("sparsity=0.9", "the suite has no sparsity '0.9'; choose from 0.8, 0.95"),
        ("sparsity=half", "the suite has no sparsity 'half'; choose from 0.8, 0.95"),
        ("seed=3", "the suite has no seed '3'; choose from 0, 1, 2"),
        ("seed=nan", "the suite has no seed 'nan'; choose from 0, 1, 2"),
        ("fair", "write it as key=value,key=value, such as method=imp,seed=0"),
        ("method=", "write it as key=value,key=value, such as method=imp,seed=0"),
        ("method=fair,", "write it as key=value,key=value, such as method=imp,seed=0"),
        ("", "write it as key=value,key=value, such as method=imp,seed=0"),
    ],
)
def test_what_the_suite_does_not_have_is_named_with_the_nearest(suite, only, message):
    with pytest.raises(SuiteError) as caught:
        narrow(suite, [only])
    assert str(caught.value) == f"--only {only}: {message}"


@pytest.mark.parametrize(
    ("only", "unmatched"),
    [
        (["method=fair,sparsity=0.95"], [("method", "fair"), ("sparsity", "0.95")]),
        (["method=fair", "sparsity=0.95"], [("method", "fair"), ("sparsity", "0.95")]),
        (["method=fair,method=coin,sparsity=0.95"], [("method", "fair")]),
        (["method=dense,sparsity=0.95"], [("sparsity", "0.95")]),
    ],
)
def test_what_no_trial_has_together_with_the_other_values_is_an_error(read, valid, only, unmatched):
    """`fair` has a sparsity of its own: without the error only the control would be left of what was asked for."""
    suite = read(valid, "methods.1={name: coin, label: fair, sparsities: [0.8]}")
    with pytest.raises(SuiteError) as caught:
        narrow(suite, only)
    assert [line.partition(": ")[2] for line in str(caught.value).split("\n")] == [
        f"no trial with {key} '{value}' matches the other values" for key, value in unmatched
    ]


def test_values_that_fit_some_trial_are_no_error(read, valid):
    suite = read(valid, "methods.1={name: coin, label: fair, sparsities: [0.8]}")
    for only in (["method=fair,sparsity=0.8"], ["method=fair,method=coin,sparsity=0.8"], ["method=dense,seed=0"]):
        assert any(map(narrow(suite, only), suite.trials()))


def test_all_mistakes_of_all_options_are_told_at_once(suite):
    with pytest.raises(SuiteError) as caught:
        narrow(suite, ["method=x,seed=9", "task=b", "tusk=b"])
    assert [line.partition(": ")[0] for line in str(caught.value).split("\n")] == [
        "--only method=x,seed=9",
        "--only method=x,seed=9",
        "--only tusk=b",
    ]
