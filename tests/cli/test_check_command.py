"""`prunebench check`: a matrix, a page for a pull request, and an exit code that says whether it will do."""

import functools
import json
import textwrap
from pathlib import Path

import pytest

from prunebench import testing
from prunebench.api import plugins

SOUND = '''
    import torch
    import prunebench

    class Sound(prunebench.Method):
        """Keep the largest weights."""

        name = "sound"
        reference = "None 2026"
        power: float = 1.0

        def scores(self, scoring):
            return {name: weight.abs() ** self.power for name, weight in scoring.weights.items()}

    class Lost(Sound):
        """Raise."""

        name = "lost"

        def scores(self, scoring):
            raise LookupError("nowhere to be found")

    @prunebench.hookimpl
    def register_methods():
        return [Sound]
'''
BOTH = SOUND.replace("return [Sound]", "return [Sound, Lost]")
MODELS = SOUND.replace("register_methods", "register_models").replace("return [Sound]", "return []")


@pytest.fixture(autouse=True)
def _on_one_network(monkeypatch):
    """As much as these tests need."""
    monkeypatch.setattr(testing, "conformance", functools.partial(testing.conformance, networks=testing.NETWORKS[:1]))
    plugins.load.cache_clear()


@pytest.fixture
def plugin(tmp_path):
    def write(source=SOUND, name="mine.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(source), "utf-8")
        return path

    return write


def test_a_sound_method_gets_a_matrix_and_exit_code_0(prunebench, plugin):
    result = prunebench("check", plugin())
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("sound: 14 passed, ")
    assert "check       method  mlp" in lines
    assert "listing     warn" in lines
    assert "density             ok" in lines
    assert max(map(len, lines)) <= 80


def test_a_warning_a_skip_and_a_remark_are_told_with_their_reason(prunebench, plugin):
    result = prunebench("check", plugin(BOTH))
    assert "warning listing\n  parameter 'power' has no text: annotate its type with Doc(...)\n" in result.stdout
    assert "inversion on mlp\n  its chain does not run: see chain and scores\n" in result.stdout
    assert "note inversion on mlp\n  test loss 0." in result.stdout


def test_a_method_that_raises_is_told_with_the_line_of_its_author_and_exit_code_1(prunebench, plugin):
    result = prunebench("check", plugin(BOTH))
    assert result.exit_code == 1
    assert "chain               FAIL" in result.stdout
    assert (
        "FAILED chain on mlp\n"
        "  LookupError: nowhere to be found\n"
        '    mine.py:21, in scores: raise LookupError("nowhere to be found")\n'
    ) in result.stdout


def test_every_method_of_a_file_is_checked(prunebench, plugin):
    lines = prunebench("check", plugin(BOTH)).stdout.splitlines()
    assert [line.partition(":")[0] for line in lines if " passed, " in line] == ["sound", "lost"]


def test_one_method_of_a_file_can_be_named(prunebench, plugin):
    result = prunebench("check", "sound", "--plugin", plugin(BOTH))
    assert result.exit_code == 0
    assert "lost" not in result.stdout


def test_an_installed_plugins_own_file_is_not_loaded_a_second_time(prunebench):
    loaded = plugins.load()
    file = loaded.origins[loaded.find("method", "random")[0]].file
    result = prunebench("check", file)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("random: ")


def test_parameters_are_set_as_in_a_suite(prunebench, plugin):
    report = json.loads(prunebench("check", plugin(), "--set", "power=2.0", "--json").stdout)
    assert report[0]["parameters"] == "Sound(power=2.0)"


def test_a_preset_is_set_as_in_a_suite(prunebench):
    report = json.loads(prunebench("check", "snip", "--set", "preset=synflow-repository", "--json").stdout)
    assert report[0]["parameters"].startswith("SNIP(batches=1, batch_size=100,")


def test_json_has_every_finding(prunebench, plugin):
    result = prunebench("check", plugin(BOTH), "--json")
    sound, lost = json.loads(result.stdout)
    assert (sound["ok"], lost["ok"]) == (True, False)
    assert set(sound["findings"][0]) == {"check", "network", "status", "detail", "seconds"}
    (failed,) = [finding for finding in lost["findings"] if finding["status"] == "failed"]
    assert (failed["check"], failed["network"]) == ("chain", "mlp")


def test_a_page_for_a_pull_request_is_written(prunebench, plugin, tmp_path):
    page = tmp_path / "report.md"
    prunebench("check", plugin(), "--markdown", page)
    text = page.read_text("utf-8")
    assert "## `sound`: conforms" in text
    assert "| check | method | mlp | what it is about |" in text
    assert str(tmp_path) not in text


def test_a_page_that_cannot_be_written_is_an_error(prunebench, plugin, tmp_path):
    result = prunebench("check", plugin(), "--markdown", tmp_path / "nowhere" / "report.md")
    assert result.exit_code == 2
    assert "cannot be written: No such file or directory" in result.stderr


def test_a_file_without_methods_is_exit_code_1(prunebench, plugin):
    path = plugin(MODELS)
    result = prunebench("check", path)
    assert result.exit_code == 1
    assert result.stderr == f"nothing could be checked: {path} registers no methods\n"


def test_a_method_that_reaches_nothing_was_not_checked(prunebench, plugin):
    result = prunebench("check", "nm", "--set", "n=1", "--set", "m=3")
    assert result.exit_code == 1
    assert "nothing could be run: none of 0.5, 0.75, 0.9, 0.95, 0.99 can be reached" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sonud"], "unknown method 'sonud'; did you mean 'sound'?"),
        (["sound", "--set", "pwoer=1.0"], "unknown key; did you mean 'power'?"),
        (["sound", "--set", "power=high"], "power: must be a number, not 'high'"),
        (["missing.py"], "there is no file"),
        (["broken.py"], "could not be loaded: SyntaxError"),
        (["mine.py", "--set", "power=2.0"], "--set is for one method, and mine.py has sound, lost: name one of them"),
        ([], "Missing argument 'NAME|FILE'"),
    ],
)
def test_a_mistake_in_the_command_is_exit_code_2(prunebench, plugin, monkeypatch, arguments, words):
    path = plugin(BOTH)
    plugin("def (", "broken.py")
    monkeypatch.chdir(path.parent)
    loaded = ["--plugin", path] if arguments[:1] in (["sonud"], ["sound"]) else []
    result = prunebench("check", *arguments, *loaded)
    assert result.exit_code == 2
    assert words in result.stderr


def test_the_readme_names_the_command():
    assert "| `prunebench check NAME" in (Path(__file__).parents[2] / "README.md").read_text("utf-8")
