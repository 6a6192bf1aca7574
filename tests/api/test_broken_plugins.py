"""A broken plugin harms itself: not the help, not other methods, and nobody who takes it away again."""

import shutil

import pytest
from click.testing import CliRunner

from prunebench.api import plugins
from prunebench.cli import main
from tests import installing, runs

BROKEN = {
    "an import that fails": "import no_such_package_anywhere\n",
    "a syntax error": "def register_methods(:\n",
    "an exit": "import sys\nsys.exit('no licence')\n",
    "a hook that raises": "import prunebench\n@prunebench.hookimpl\ndef register_methods():\n    1 / 0\n",
    "a misspelt hook": "import prunebench\n@prunebench.hookimpl\ndef register_method():\n    return []\n",
}


@pytest.fixture
def called():
    """Calls the command line with what is installed now."""

    def call(*arguments):
        plugins.load.cache_clear()
        return CliRunner().invoke(main, list(arguments))

    yield call
    plugins.load.cache_clear()


@pytest.mark.parametrize("source", BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_listed_and_all_others_are_there(tmp_path, monkeypatch, called, source):
    monkeypatch.syspath_prepend(str(installing.broken(tmp_path, source)))
    assert called("--help").exit_code == 0
    listed = called("plugins")
    assert listed.exit_code == 0
    assert listed.stdout.count("BROKEN") == 1
    methods = called("methods", "imp")
    assert methods.exit_code == 0
    assert "Frankle" in methods.stdout
    everything = called("methods")
    assert "random" in everything.stdout
    assert "`prunebench plugins` says why" in everything.stderr


def test_a_suite_without_its_methods_is_planned_as_ever(tmp_path, monkeypatch, called):
    runs.write_suite(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = called("plan", "tiny.yaml", "--json")
    monkeypatch.syspath_prepend(str(installing.broken(tmp_path / "site")))
    after = called("plan", "tiny.yaml", "--json")
    assert (after.exit_code, after.stdout) == (0, before.stdout)


def test_an_uninstalled_plugin_leaves_no_trace(tmp_path, monkeypatch, called):
    before = called("plugins").stdout
    monkeypatch.syspath_prepend(str(installing.broken(tmp_path / "site")))
    assert called("plugins").stdout != before
    shutil.rmtree(tmp_path / "site")
    assert called("plugins").stdout == before


def test_in_a_process_of_its_own_too(tmp_path):
    site = installing.with_site(installing.broken(tmp_path / "site"))
    helped = runs.prunebench("--help", cwd=tmp_path, **site)
    assert (helped.returncode, helped.stderr) == (0, "")
    described = runs.prunebench("methods", "imp", cwd=tmp_path, **site)
    assert (described.returncode, described.stderr) == (0, "")


def test_the_trace_shows_every_hook_call_with_its_plugin_and_its_answer(called, monkeypatch, tmp_path):
    monkeypatch.setenv("PRUNEBENCH_TRACE", "1")
    monkeypatch.syspath_prepend(str(installing.broken(tmp_path / "site", BROKEN["a hook that raises"])))
    lines = called("methods", "imp").stderr.splitlines()
    calls = [line for line in lines if line.startswith("[hook] register_")]
    answers = [line for line in lines if line.startswith("[hook]   register_")]
    loaded = [plugin for plugin in plugins.load().plugins if plugin.provides]
    assert len(calls) == len(answers) >= len(loaded)
    assert [line for line in calls if line.startswith("[hook] register_methods of prunebench:imp:")]
    assert "[hook]   register_methods: [[<class 'prunebench_plugins.imp.IMP'>]]" in answers
    assert "[hook]   register_methods: ZeroDivisionError('division by zero')" in answers


def test_without_the_variable_nothing_is_traced(called):
    assert "[hook]" not in called("methods", "imp").stderr
