"""`prunebench new`: what it writes works as it stands, and what it cannot write it says."""

import ast
import re
import shutil
import subprocess
import tomllib
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path

import pytest

from prunebench import __version__, session
from prunebench.cli import new
from tests import installing, runs

ROOT = Path(__file__).parents[2]
PATHS = {
    ".github/workflows/test.yml",
    ".gitignore",
    "README.md",
    "prunebench_my_method.py",
    "pyproject.toml",
    "suite.yaml",
    "test_prunebench_my_method.py",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The distribution of `my-method`."""
    folder = tmp_path_factory.mktemp("new") / "my-method"
    new.write(folder, new.rendered("my-method"))
    return folder


def test_it_writes_a_whole_distribution_and_says_how_to_go_on(prunebench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = prunebench("new", "my-method")
    assert result.exit_code == 0
    found = {str(path.relative_to("my-method")) for path in Path("my-method").rglob("*") if path.is_file()}
    assert found == PATHS
    assert all(f"  {path}\n" in result.stdout for path in PATHS)
    assert result.stdout.endswith("  pip install -e my-method\n  prunebench run my-method/suite.yaml\n")


def test_the_folder_is_made_where_it_is_wanted(prunebench, tmp_path):
    result = prunebench("new", "my-method", "--directory", tmp_path / "some" / "where")
    assert result.exit_code == 0
    assert (tmp_path / "some/where/my-method/suite.yaml").is_file()


REFUSED = [
    "-mine",
    "mine-",
    "a--b",
    "3bit",
    "My-Method",
    "my_method",
    "ä",
    "../mine",
    "a/b",
    "a\\b",
    "/mine",
    ".",
    "mine.py",
]


@pytest.mark.parametrize("name", [*REFUSED, "", "my method", "mine\n", "m" * 51])
def test_a_name_that_is_none_is_refused(prunebench, tmp_path, name):
    result = prunebench("new", "--directory", tmp_path, "--", name)
    assert result.exit_code == 2
    assert "cannot be the name of a method: use lower-case letters, digits and single hyphens" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["none", "true", "false"])
def test_a_name_that_makes_no_class_is_refused(prunebench, tmp_path, name):
    result = prunebench("new", name, "--directory", tmp_path)
    assert result.exit_code == 2
    assert f"its class cannot be called {name.capitalize()}" in result.stderr


def test_the_prefix_of_the_distribution_is_no_part_of_the_name(prunebench, tmp_path):
    result = prunebench("new", "prunebench-mine", "--directory", tmp_path)
    assert result.exit_code == 2
    assert "leave out 'prunebench-': it is added to the name of the distribution" in result.stderr


@pytest.mark.parametrize("name", ["imp", "magnitude-init"])
def test_a_name_that_is_taken_is_refused_with_its_origin(prunebench, tmp_path, name):
    result = prunebench("new", name, "--directory", tmp_path)
    assert result.exit_code == 2
    assert f"the method {name!r} exists, from plugin " in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_module_that_is_there_already_is_not_shadowed(prunebench, tmp_path):
    result = prunebench("new", "plugins", "--directory", tmp_path)
    assert result.exit_code == 2
    assert "the module 'prunebench_plugins' exists" in result.stderr


def test_what_is_there_already_is_left_alone(prunebench, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("important")
    result = prunebench("new", "mine", "--directory", tmp_path)
    assert result.exit_code == 2
    assert f"{tmp_path / 'mine'} exists" in result.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes"]


def test_a_folder_that_cannot_be_made_is_an_error_without_a_traceback(prunebench, tmp_path):
    (tmp_path / "file").write_text("")
    result = prunebench("new", "mine", "--directory", tmp_path / "file" / "below")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


def test_the_entry_point_leads_to_the_module(written):
    about = tomllib.loads((written / "pyproject.toml").read_text("utf-8"))
    assert about["project"]["name"] == "prunebench-my-method"
    assert about["project"]["dependencies"] == [f"prunebench>={__version__}"]
    assert about["project"]["entry-points"] == {"prunebench": {"my-method": "prunebench_my_method"}}
    assert about["tool"]["setuptools"]["py-modules"] == ["prunebench_my_method"]
    assert (written / "prunebench_my_method.py").is_file()


def test_the_method_is_a_dozen_lines(written):
    tree = ast.parse((written / "prunebench_my_method.py").read_text("utf-8"))
    [method] = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert method.name == "MyMethod"
    assert method.end_lineno - method.lineno < 12


def test_the_suite_has_the_method_beside_random_magnitude_and_imp(written):
    loaded = session.load_suite(written / "suite.yaml", plugin_files=[written / "prunebench_my_method.py"])
    assert {"my-method", "random", "magnitude", "imp", "dense"} <= {entry.label for entry in loaded.suite.entries}


def test_nothing_is_left_to_be_filled_in(written):
    for path in PATHS:
        assert not re.search(r"\$\w|TODO|FIXME", (written / path).read_text("utf-8"))


def test_every_template_is_used_and_travels_with_the_package():
    templates = {path.name for path in (files("prunebench.cli") / "templates").iterdir()}
    assert templates == set(new.TARGETS)
    data = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    patterns = [pattern.removeprefix("cli/templates/") for pattern in data["prunebench"]]
    assert all(any(fnmatch(name, pattern) for pattern in patterns) for name in templates)


def test_the_code_is_as_ruff_would_have_it(written):
    ruff = shutil.which("ruff", path=str(Path(runs.sys.executable).parent)) or shutil.which("ruff")
    if ruff is None:
        pytest.skip("ruff is not installed")
    for command in (["check", "--select", "E,F,I,UP,B"], ["format", "--check"]):
        done = subprocess.run(
            [ruff, *command, "--isolated", "--line-length=120", "."], cwd=written, capture_output=True
        )
        assert done.returncode == 0, done.stdout.decode()


@pytest.mark.slow
def test_once_installed_its_suite_gives_a_table_with_the_new_row(written, tmp_path):
    site = installing.install(written, tmp_path / "site")
    short = ("--set", "seeds=1", "--set", "tasks.recipe.epochs=1")
    done = runs.prunebench("run", written / "suite.yaml", *short, cwd=tmp_path, **installing.with_site(site))
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0] for line in done.stdout.splitlines() if line}
    assert {"my-method", "random", "magnitude", "imp"} <= rows


@pytest.mark.slow
def test_its_own_tests_pass(written, tmp_path):
    done = installing.pytest(written, installing.install(written, tmp_path / "site"))
    assert done.returncode == 0, done.stdout
