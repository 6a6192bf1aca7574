"""Suites by name: which file a name means, and what is said where a file and a name could both be meant."""

import shutil
from pathlib import Path

import pytest

from prunebench.api import plugins
from prunebench.api.errors import SuiteError
from prunebench.suite import read_suite, shipped
from tests import suites

SOURCES = Path(__file__).parents[2] / "suites"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_yaml_file_of_the_sources_is_shipped_by_its_name():
    found = shipped.shipped()
    assert list(found) == sorted(path.stem for path in SOURCES.glob("*.yaml"))
    assert {name: path.read_text("utf-8") for name, path in found.items()} == {
        path.stem: path.read_text("utf-8") for path in SOURCES.glob("*.yaml")
    }


def test_the_name_of_a_shipped_suite_is_the_name_of_its_results():
    registry = plugins.load()
    names = [path.stem for path in suites.READABLE]
    assert [read_suite(name, registry).name for name in names] == names


def test_every_shipped_suite_says_what_it_is_about():
    registry = plugins.load()
    assert [path.stem for path in suites.READABLE if not read_suite(path.stem, registry).description] == []


def test_a_name_means_the_shipped_suite_also_beside_a_folder_of_this_name():
    Path("digits").mkdir()
    assert shipped.file_of("digits") == shipped.shipped()["digits"]
    assert shipped.ambiguity("digits") == ""
    assert shipped.origin("digits") == "the shipped suite"


def test_a_file_comes_before_a_name_and_that_is_said():
    shutil.copy(SOURCES / "tables.yaml", "digits")
    assert read_suite("digits", plugins.load()).name == "tables"
    assert shipped.ambiguity("digits").startswith("'digits' is a file in this folder, and is used instead of")
    assert shipped.origin("digits") == "digits"


def test_a_file_with_the_name_and_an_ending_is_not_used_and_that_is_said():
    shutil.copy(SOURCES / "tables.yaml", "digits.yaml")
    assert read_suite("digits", plugins.load()).name == "digits"
    assert (
        shipped.ambiguity("digits") == "'digits' is the shipped suite; for the file in this folder write 'digits.yaml'"
    )
    assert shipped.ambiguity("digits.yaml") == ""
    assert shipped.origin("digits.yaml") == "digits.yaml"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("digit", "there is no such file, and no shipped suite has this name; did you mean 'digits'?"),
        ("zzzzzz", "there is no such file, and no shipped suite has this name; `prunebench suites` lists them"),
        ("suites/digits.yaml", "there is no such file; the shipped suite is 'digits'"),
        ("mine.yaml", "there is no such file"),
        ("some/where", "there is no such file"),
        (".", "is a directory; name a suite's YAML file"),
    ],
)
def test_what_is_neither_file_nor_name_is_refused_with_what_may_be_meant(source, said):
    with pytest.raises(SuiteError) as error:
        read_suite(source, plugins.load())
    assert str(error.value) == f"{source}: {said}"


def test_without_the_package_of_suites_there_are_none(monkeypatch):
    monkeypatch.setattr(shipped, "PACKAGE", "prunebench_suites_that_are_not_there")
    assert shipped.shipped() == {}
    assert shipped.file_of("digits") == Path("digits")
