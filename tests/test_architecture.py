"""The rules that hold the house together, checked on the source itself."""

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import prunebench
from prunebench.api import registry

ROOT = Path(prunebench.__file__).parent
ROOMS = ("suite", "plan", "execution", "tracking", "leaderboard", "session", "inspection", "testing", "cli")
"""In the order in which results travel; a room imports only from the rooms before it."""
SOURCES = sorted(ROOT.rglob("*.py"))


def module_of(path):
    parts = ("prunebench", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def running(node) -> Iterator[ast.AST]:
    """Every node below this one but those that only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child):
            for other in child.orelse:
                yield from (other, *running(other))
        else:
            yield from (child, *running(child))


def imports_of(module) -> Iterator[str]:
    """What a module imports, inside of functions too, as `package.module` or `package.module.name`."""
    for node in running(MODULES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module if (ROOT.parent / module.replace(".", "/")).is_dir() else module.rpartition(".")[0]
            source = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{source}.{alias.name}" for alias in node.names)


def room_of(name):
    """The number of the room that a module lies in; what lies in none is the ground that all stand on."""
    parts = name.split(".")
    return ROOMS.index(parts[1]) if parts[0] == "prunebench" and len(parts) > 1 and parts[1] in ROOMS else -1


def compared(tree) -> Iterator[str]:
    """The words that a module compares something with, or looks something up by."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            within = [node.left, *node.comparators]
        elif isinstance(node, ast.Dict):
            within = [key for key in node.keys if key is not None]
        elif isinstance(node, ast.MatchValue):
            within = [node.value]
        else:
            continue
        for part in within:
            items = part.elts if isinstance(part, (ast.Tuple, ast.List, ast.Set)) else [part]
            yield from (one.value for one in items if isinstance(one, ast.Constant) and isinstance(one.value, str))


@pytest.mark.parametrize("module", MODULES)
def test_the_core_imports_no_plugin(module):
    assert [name for name in imports_of(module) if name.split(".")[0] == "prunebench_plugins"] == []


def test_the_core_knows_no_method_by_name():
    loaded = registry.load()
    built_in = {cls.name for cls in loaded.components["method"].values() if loaded.origins[cls].distribution}
    assert built_in
    found = [(module, word) for module, tree in MODULES.items() for word in compared(tree) if word in built_in]
    assert found == []


@pytest.mark.parametrize("module", [module for module in MODULES if module != "prunebench.__main__"])
def test_imports_run_one_way_through_the_rooms(module):
    # What lies in no room may use the values of a suite, and nothing that comes after them.
    highest = max(room_of(module), ROOMS.index("suite"))
    assert [name for name in imports_of(module) if room_of(name) > highest] == []


def test_the_leaderboard_reads_neither_the_store_nor_the_execution():
    barred = ("prunebench.store.entries", "prunebench.execution")
    readers = [module for module in MODULES if module.startswith("prunebench.leaderboard")]
    assert readers
    found = [(module, name) for module in readers for name in imports_of(module) if name.startswith(barred)]
    assert found == []


def test_only_tracking_imports_mlflow():
    found = {module for module in MODULES for name in imports_of(module) if name.split(".")[0] == "mlflow"}
    assert {module for module in found if module.split(".")[1] != "tracking"} == set()


def test_the_checks_above_see_what_they_look_for():
    tree = ast.parse("if a == 'x': {'y': 1}\nmatch a:\n    case 'z': pass\nb in ('u', 'v')")
    assert set(compared(tree)) == {"x", "y", "z", "u", "v"}
    assert room_of("prunebench.api.tasks.Trial") == 0
    assert room_of("prunebench.cli.options") == ROOMS.index("cli") == 8
    assert room_of("prunebench.api.registry") == room_of("torch.plan") == -1
    assert "prunebench.api.components.Method" in set(imports_of("prunebench.api.hooks"))
    assert "prunebench.pruning.scoring.Scoring" not in set(imports_of("prunebench.api.components"))


def test_importing_prunebench_loads_nothing_heavy():
    code = "import sys, prunebench; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "torchvision", "timm", "mlflow", "pandas", "numpy", "pydantic", "matplotlib", "rich", "click"}
    assert heavy.isdisjoint(done.stdout.split())


def test_rows_and_text_of_a_leaderboard_need_no_plots():
    code = "import sys, prunebench.leaderboard; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "mlflow", "matplotlib", "scipy.stats", "jinja2"}.isdisjoint(done.stdout.split())


def test_the_public_names_are_these():
    assert prunebench.__all__ == [
        "Allocation",
        "Arrays",
        "Crew",
        "DataFacts",
        "Dataset",
        "Deploy",
        "Deployed",
        "Ended",
        "Executor",
        "File",
        "Files",
        "Flops",
        "Initialize",
        "Method",
        "Model",
        "Network",
        "Order",
        "Preset",
        "Prune",
        "Reinitialize",
        "Resources",
        "Rewind",
        "Scoring",
        "Shuffle",
        "Site",
        "Stage",
        "Structure",
        "Ticket",
        "Time",
        "Train",
        "Training",
        "Trial",
        "Updater",
        "__version__",
        "added_later",
        "carry_out",
        "hookimpl",
        "leaderboard",
        "load_suite",
        "load_ticket",
        "run_suite",
    ]


@pytest.mark.parametrize("name", prunebench.__all__)
def test_every_public_name_is_there(name):
    assert hasattr(prunebench, name)
