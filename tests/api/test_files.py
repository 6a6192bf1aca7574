"""A file as a parameter: its path in a suite, its content in every key."""

import hashlib
from dataclasses import replace

import pytest

import prunebench
from prunebench import File
from prunebench.api.errors import PrunebenchError
from prunebench.records.keys import digest
from prunebench.suite.annotations import schema_of
from prunebench.suite.checking import dumped, exact
from prunebench.suite.descriptions import parameters


class Reading(prunebench.Method):
    """Has a file."""

    name = "reading"
    source: File


@pytest.fixture
def file(tmp_path):
    """Writes a file and names it."""

    def make(content=b"one", name="a.bin"):
        (tmp_path / name).write_bytes(content)
        return File.at(str(tmp_path / name))

    return make


def test_it_knows_the_hash_of_its_content_and_reads_it(file):
    made = file(b"one")
    assert made.sha256 == hashlib.sha256(b"one").hexdigest()
    assert made.read() == b"one"


def test_a_key_follows_the_content_and_never_the_path(file):
    one, elsewhere, other = file(b"one", "a"), file(b"one", "b"), file(b"two", "c")
    assert one == elsewhere != other
    assert one.path != elsewhere.path
    assert digest(Reading(source=one)) == digest(Reading(source=elsewhere))
    assert digest(Reading(source=one)) != digest(Reading(source=other))


def test_it_travels_as_text_that_pins_its_content(file, tmp_path):
    method = Reading(source=file())
    plain = dumped(method)
    assert plain == {"source": f"{tmp_path / 'a.bin'}@sha256:{hashlib.sha256(b'one').hexdigest()}"}
    again = exact(Reading, plain)
    assert again == method
    assert again.source.path == method.source.path


def test_a_pinned_file_that_is_another_is_refused(file):
    plain = dumped(Reading(source=file()))
    file(b"two")
    with pytest.raises(ValueError, match="is not the expected file: its SHA-256 is"):
        exact(Reading, plain)


def test_what_changes_after_the_suite_was_read_is_not_read(file):
    made = file()
    file(b"two")
    with pytest.raises(PrunebenchError, match=r"a\.bin was changed since the suite was read"):
        made.read()


def test_what_is_gone_is_an_error(file, tmp_path):
    made = file()
    (tmp_path / "a.bin").unlink()
    with pytest.raises(PrunebenchError, match=r"a\.bin cannot be read: No such file"):
        made.read()
    assert replace(made, path="x") == made


@pytest.mark.parametrize("path", ["nothing.bin", "", ".", "a" * 5000])
def test_what_is_no_file_is_an_error(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"is not a file|does not exist|cannot be read"):
        File.at(path)


@pytest.mark.parametrize("given", [None, 3, True, ["a.bin"], {"path": "a.bin"}])
def test_only_text_names_a_file(given):
    with pytest.raises(ValueError, match="valid string"):
        exact(Reading, {"source": given})


def test_it_is_described_as_what_it_is():
    assert [(one.name, one.values) for one in parameters(Reading)] == [("source", "a path")]
    assert schema_of(Reading)["properties"]["source"]["type"] == "string"
