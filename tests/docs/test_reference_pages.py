"""The generated pages are up to date and complete."""

import ast
import importlib.util
from pathlib import Path

import pytest

import prunebench
from prunebench import cli
from prunebench.api import hooks
from prunebench.suite import suite_schema
from prunebench.suite.input_models import stage_classes

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
HOOKS = sorted(name for name in vars(hooks) if name.startswith("register_"))


def _generator():
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATE = _generator()


@pytest.mark.parametrize("name", GENERATE.PAGES)
def test_a_page_is_what_the_generator_writes(name):
    # Word by word: versions of click break lines in different places.
    written = (DOCS / "reference" / name).read_text("utf-8").split()
    assert written == GENERATE.PAGES[name]().split(), "run python docs/generate.py"


def test_no_page_is_left_over():
    assert {path.name for path in (DOCS / "reference").iterdir()} == set(GENERATE.PAGES)


def test_every_public_name_is_described():
    shown = {name for names in GENERATE.CHAPTERS.values() for name in names}
    assert set(prunebench.__all__) - {"__version__", "hookimpl"} <= shown


def test_every_exit_code_is_described_with_its_number():
    page = GENERATE.described("ExitCode")
    assert [code for code in prunebench.ExitCode if f"`{code.name}: {code.value}`" not in page] == []


def test_every_command_is_described():
    page = (DOCS / "reference" / "commands.md").read_text("utf-8")
    assert [name for name in cli.COMMANDS if f"## `prunebench {name}`" not in page] == []


def test_every_key_of_the_schema_is_described():
    page = (DOCS / "reference" / "suite.md").read_text("utf-8")
    keys = set(_keys(suite_schema())) - set(stage_classes())
    assert {"sparsities", "batch_size", "milestones", "exclude", "rounds"} <= keys
    assert [key for key in sorted(keys) if f"| `{key}` |" not in page] == []
    assert [name for name in stage_classes() if f"### {name}\n" not in page] == []


def _keys(schema):
    """The keys of every mapping in a schema."""
    if isinstance(schema, dict):
        yield from schema.get("properties", ())
        for value in schema.values():
            yield from _keys(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _keys(value)


# --- hooks


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_has_a_page(hook):
    assert f"### `{hook}()" in (DOCS / "reference" / "hooks.md").read_text("utf-8")


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_has_an_example(hook):
    assert [path for path in sorted((DOCS / "examples").glob("*.py")) if hook in implemented(path)]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_has_a_test_that_bears_its_name(hook):
    sources = (path.read_text("utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py")))
    assert any(f"\ndef test_{hook}_" in source for source in sources)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_has_a_user_among_the_built_in_plugins(hook):
    assert [path for path in sorted((ROOT / "plugins").glob("*.py")) if hook in implemented(path)]


def implemented(path):
    """The hooks that a file implements."""
    tree = ast.parse(path.read_text("utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {one.name for one in functions if "prunebench.hookimpl" in map(ast.unparse, one.decorator_list)}
