"""An edit of a plugin's file makes its work new, and nobody else's; and every row says what it was made with."""

import textwrap

import pytest

import prunebench
from prunebench import session
from prunebench.api import plugins
from prunebench.plan.planning import make_plan
from prunebench.records import sources
from prunebench.records.keys import canonical_digest
from tests import installing, runs

SOURCE = '''
    import torch
    import prunebench

    class {cls}(prunebench.Method):
        """A method."""

        name = "{name}"

        def scores(self, scoring):
            """Its scores."""
            return {{name: weight.abs() for name, weight in scoring.weights.items()}}

    @prunebench.hookimpl
    def register_methods():
        return [{cls}]
'''

SUITE = """
name: tiny
tasks:
  - dataset: digits
    model: {name: mlp, hidden: [12]}
    recipe: {epochs: 1, batch_size: 100, optimizer: {name: sgd, lr: 0.1}}
methods: [mine, yours, random]
sparsities: [0.5]
seeds: 1
"""


@pytest.fixture
def folder(tmp_path):
    """Two plugin files and a suite that uses both."""
    for name in ("mine", "yours"):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(SOURCE.format(cls=name.title(), name=name)), "utf-8")
    (tmp_path / "tiny.yaml").write_text(SUITE, "utf-8")
    return tmp_path


def keys(folder):
    """The keys of each method's chain, as a new process sees them."""
    for cached in (plugins.load, sources._module_hash, canonical_digest):
        cached.cache_clear()
    loaded = session.load_suite(folder / "tiny.yaml", plugin_files=[folder / "mine.py", folder / "yours.py"])
    return {planned.trial.entry.label: planned.chain for planned in make_plan(loaded.trials, {}).trials}


def edit(path, before, after):
    text = path.read_text("utf-8")
    assert before in text
    path.write_text(text.replace(before, after), "utf-8")


def test_an_edit_of_a_methods_code_makes_its_own_keys_new_and_nobody_elses(folder):
    first = keys(folder)
    edit(folder / "mine.py", "weight.abs()", "weight.square()")
    second = keys(folder)
    assert {label for label in first if first[label] != second[label]} == {"mine"}
    # What comes before the method's own first stage is shared by all, and stays.
    assert first["mine"][0] == second["mine"][0] == first["random"][0]
    assert set(first["mine"][1:]).isdisjoint(second["mine"][1:])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"""A method."""', '"""A better method."""  # or so'),
        ('"""Its scores."""\n', ""),
        ("import torch\n", "import torch\n\n# a comment\n"),
        ('name = "mine"', "name = 'mine'"),
    ],
)
def test_an_edit_of_comments_docstrings_or_layout_makes_nothing_new(folder, before, after):
    first = keys(folder)
    edit(folder / "mine.py", before, after)
    assert keys(folder) == first


def test_two_files_with_the_same_code_under_one_name_have_the_same_keys(folder, tmp_path_factory):
    # Where a file lies is in no key: stores of two machines can be merged.
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    first = keys(folder)
    for name in ("mine.py", "yours.py", "tiny.yaml"):
        (folder / name).rename(elsewhere / name)
    assert keys(elsewhere) == first


@pytest.mark.slow
def test_a_run_after_an_edit_runs_what_the_edit_made_new(folder):
    def run():
        files = ("--plugin", "mine.py", "--plugin", "yours.py")
        done = runs.prunebench("run", "tiny.yaml", *files, cwd=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "4 trials: 4 done, 0 cached" in run()
    edit(folder / "mine.py", '"""A method."""', '"""Another text."""')
    assert "4 trials: 0 done, 4 cached" in run()
    edit(folder / "mine.py", "weight.abs()", "weight.square()")
    assert "4 trials: 1 done, 3 cached" in run()


@pytest.mark.slow
def test_every_row_says_which_plugin_made_it(folder, tmp_path_factory, monkeypatch):
    package = tmp_path_factory.mktemp("package")
    (folder / "yours.py").rename(package / "yours_module.py")
    (package / "pyproject.toml").write_text(
        '[project]\nname = "yours-package"\nversion = "1.2.3"\n'
        '[project.entry-points.prunebench]\nyours = "yours_module"\n'
        '[tool.setuptools]\npy-modules = ["yours_module"]\n'
    )
    site = installing.install(package, folder / "site")
    done = runs.prunebench("run", "tiny.yaml", "--plugin", "mine.py", cwd=folder, **installing.with_site(site))
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(folder)
    from prunebench.tracking import read_results

    made_by = {result.method: result.provenance for result in read_results(suite="tiny")}
    assert made_by["mine"]["method.plugin"] == "file mine"
    assert made_by["yours"]["method.plugin"] == "yours-package 1.2.3"
    assert made_by["random"]["method.plugin"] == f"prunebench {prunebench.__version__}"
    sources = {label: provenance["method.source"] for label, provenance in made_by.items()}
    assert len(set(sources.values())) == len(sources) == 4
    for kind in ("model", "dataset"):
        assert all({f"{kind}.plugin", f"{kind}.source"} <= set(provenance) for provenance in made_by.values())
