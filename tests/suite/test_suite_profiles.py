"""Profiles of a suite: what they change, what comes after them, and what is refused with its place."""

from pathlib import Path

import pytest

from prunebench.api.errors import SuiteError
from prunebench.api.tasks import Change
from prunebench.suite import from_plain, read_suite, to_plain
from prunebench.suite.profiles import names, shortened
from prunebench.suite.shipped import shipped

PROFILES = """profiles:
  quick:
    tasks.recipe.epochs: 2
    seeds: 1
    tasks.0.prunable.first: false
  other: {sparsities: [0.5]}
"""


def test_without_a_selected_profile_profiles_change_nothing(read, valid):
    assert read(valid + PROFILES) == read(valid)


def test_a_profile_changes_the_values_at_its_paths(read, valid):
    suite = read(valid + PROFILES, "profile=quick")
    [task] = suite.tasks
    assert (task.recipe.epochs, suite.seeds, task.prunable.first) == (2, (0,), False)
    assert suite.sparsities == (0.8, 0.95)
    assert suite.profile == "quick"
    assert suite.changes == (
        Change("tasks.recipe.epochs", (4,), 2),
        Change("seeds", (3,), 1),
        Change("tasks.0.prunable.first", (), False),
    )


def test_settings_come_after_the_profile_wherever_they_are_written(read, valid):
    assert read(valid + PROFILES, "seeds=2", "profile=quick").seeds == (0, 1)
    assert read(valid + PROFILES, "profile=quick", "seeds=2").seeds == (0, 1)


def test_the_last_profile_is_the_one_that_is_used(read, valid):
    suite = read(valid + PROFILES, "profile=quick", "profile=other")
    assert (suite.profile, suite.seeds, suite.sparsities) == ("other", (0, 1, 2), (0.5,))


def test_a_suite_can_name_its_default_profile(read, valid):
    text = f"{valid}{PROFILES}profile: quick\n"
    assert read(text).seeds == (0,)
    assert read(text, "profile=other").seeds == (0, 1, 2)
    assert read(text, "profile=").seeds == (0, 1, 2)


def test_a_profile_with_lists_replaces_them(read, valid):
    suite = read(f"{valid}profiles: {{p: {{methods: [coin]}}}}\n", "profile=p")
    assert [entry.label for entry in suite.entries] == ["dense", "coin"]


def test_the_plain_form_of_a_suite_is_that_of_the_selected_profile(read, valid, fakes):
    suite = read(valid + PROFILES, "profile=quick")
    assert from_plain(to_plain(suite), fakes).seeds == (0,)


def test_the_trials_of_a_profile_are_those_of_the_same_settings(read, valid):
    chosen = read(valid + PROFILES, "profile=other")
    assert list(chosen.trials()) == list(read(valid, "sparsities=[0.5]").trials())


@pytest.mark.parametrize(
    ("profiles", "settings", "said"),
    [
        (PROFILES, ["profile=quik"], "--profile quik: unknown profile 'quik'; did you mean 'quick'?"),
        ("", ["profile=quick"], "--profile quick: unknown profile 'quick'; the suite has none"),
        (PROFILES, ["profiles.quick.seeds=2"], "--set profiles.quick.seeds=2: profiles are changed in the file only"),
        ("profiles: [a]\n", [], "profiles: must be a mapping from names of profiles to their changes, not a list"),
        (
            "profiles: {p: 3}\n",
            [],
            "profiles.p: must be a mapping from paths to values, such as tasks.recipe",
        ),
        ("profiles: {p: {tasks..x: 3}}\n", [], "'tasks..x' is not the path of a value"),
        ("profiles: {p: {profile: q}}\n", [], "'profile' is not the path of a value"),
        ("profiles: {p: {tasks.7.label: x}}\n", ["profile=p"], "tasks has 1 items, counted from 0: there is no 7"),
        ("profiles: {p: {tasks.recipe.epoch: 3}}\n", ["profile=p"], "tasks.0.recipe.epoch: unknown key"),
        ("profiles: {p: {seeds: many}}\n", ["profile=p"], "seeds: must be a whole number"),
    ],
)
def test_what_is_wrong_with_a_profile_is_said(read, valid, profiles, settings, said):
    with pytest.raises(SuiteError) as error:
        read(valid + profiles, *settings)
    assert said in str(error.value)


def test_an_error_of_a_value_has_the_line_of_the_profile(read, valid):
    with pytest.raises(SuiteError) as error:
        read(f"{valid}profiles:\n  p:\n    seeds: 0\n", "profile=p")
    assert f":{valid.count(chr(10)) + 3}:12: seeds: " in str(error.value)


def test_every_profile_of_a_shipped_suite_is_a_suite():
    from prunebench.api import plugins

    registry = plugins.load()
    found = {name: names(name) for name in shipped()}
    assert found["cifar10"] == ["quick", "full"]
    for name, profiles in found.items():
        for profile in profiles:
            assert read_suite(Path(name), registry, [f"profile={profile}"]).profile == profile


def test_values_are_shortened_to_names():
    methods = ["snip", {"name": "imp", "label": "imp-reinit"}, {"name": "gradual", "interval": "1%"}]
    assert shortened(methods) == "[snip, imp-reinit, gradual]"
    assert [shortened(one) for one in (3, 0.5, True, None, "", "5%")] == ["3", "0.5", "true", "null", '""', "5%"]
    assert shortened({"first": False}) == '{"first": false}'
