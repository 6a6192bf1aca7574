"""The structure that CONTRIBUTING draws, checked on the source itself."""

import ast
import graphlib
import importlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import prunebench
from prunebench.api import plugins

ROOT = Path(prunebench.__file__).parent
PROJECT = Path(__file__).parents[1]
FIGURE = re.search(r"```text\n(.*?)```", (PROJECT / "CONTRIBUTING.md").read_text("utf-8"), re.DOTALL)[1]
PACKAGES = tuple(line.split()[0] for line in reversed(FIGURE.splitlines()))
"""Of the core, lowest first, as the figure in CONTRIBUTING has them; each imports only from those before it."""
TOP = ("prunebench", "prunebench.__main__")
"""May import everything: the public names, and the command."""
MOST = 16
"""Modules in a folder, `__init__` among them."""
PUBLIC = 19
"""The same for `api`, whose modules are addresses that plugins import from."""


def module_of(path):
    parts = ("prunebench", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}
MODULES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in PATHS.items()}
PLUGINS = sorted((PROJECT / "plugins").rglob("*.py"))


def imports_in(tree, package) -> Iterator[tuple[str, str]]:
    """Everything that a module imports, in functions and for type checkers too, as (module, name)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                name = f"{source}.{alias.name}"
                yield (name, "") if name in MODULES else (source, alias.name)


def imports_of(module) -> set[str]:
    """The modules that a module of the core imports."""
    package = module if PATHS[module].name == "__init__.py" else module.rpartition(".")[0]
    return {source for source, _ in imports_in(MODULES[module], package)}


def place_of(module):
    """How high in the figure a module's package is; -1 for what is not the core's."""
    parts = module.split(".")
    if parts[0] != "prunebench":
        return -1
    return PACKAGES.index(parts[1]) if len(parts) > 1 and parts[1] in PACKAGES else len(PACKAGES)


def is_public(module, name):
    """Whether a plugin may import a name: of the api, or of those that a package lists in its `__all__`."""
    if module == "prunebench.api" or module.startswith("prunebench.api."):
        return True
    if not name:
        return module == "prunebench" or module.removeprefix("prunebench.") in PACKAGES
    return module.count(".") < 2 and name in importlib.import_module(module).__all__


def private_imports(source):
    """What a plugin's source imports of the core and may not."""
    found = imports_in(ast.parse(source), "prunebench_plugins")
    ours = [(module, name) for module, name in found if module.split(".")[0] == "prunebench"]
    return [f"{module} {name}".strip() for module, name in ours if not is_public(module, name)]


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
    loaded = plugins.load()
    built_in = {cls.name for cls in loaded.components["method"].values() if loaded.origins[cls].distribution}
    assert built_in
    found = [(module, word) for module, tree in MODULES.items() for word in compared(tree) if word in built_in]
    assert found == []


def test_every_package_is_in_the_figure():
    assert sorted(PACKAGES) == sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_every_package_is_installed():
    listed = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    folders = {module for module, path in PATHS.items() if path.name == "__init__.py"}
    assert set(listed) == folders | {"prunebench_plugins", "prunebench_suites"}


@pytest.mark.parametrize("module", [module for module in MODULES if module not in TOP])
def test_imports_run_one_way_through_the_packages(module):
    assert sorted(name for name in imports_of(module) if place_of(name) > place_of(module)) == []


def test_no_modules_import_each_other_in_a_circle():
    graph = {module: imports_of(module) & MODULES.keys() - {module} for module in MODULES}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


@pytest.mark.parametrize("folder", sorted({path.parent for path in PATHS.values()}), ids=lambda at: at.name)
def test_a_folder_is_small_enough_to_read(folder):
    assert len(list(folder.glob("*.py"))) <= (PUBLIC if folder == ROOT / "api" else MOST)


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_plugins_import_public_names_only(path):
    assert private_imports(path.read_text("utf-8")) == []


def test_the_leaderboard_reads_neither_the_store_nor_the_execution():
    barred = ("prunebench.store", "prunebench.execution")
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
    tree = ast.parse(
        "if TYPE_CHECKING:\n    from prunebench import cli\ndef f():\n    from prunebench.api.errors import A"
    )
    assert set(imports_in(tree, "x")) == {("prunebench.cli", ""), ("prunebench.api.errors", "A")}
    assert place_of("prunebench.api.errors") == PACKAGES.index("api") == 1
    assert place_of("prunebench.cli.run") == len(PACKAGES) - 1
    assert place_of("prunebench") == len(PACKAGES)
    assert place_of("torch.plan") == -1
    private = (
        "from prunebench.store.entries import Store\nfrom prunebench import session\nfrom prunebench import Nothing"
    )
    assert private_imports(private) == ["prunebench.store.entries Store", "prunebench Nothing"]


def test_importing_prunebench_loads_nothing_heavy():
    code = "import sys, prunebench; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "torchvision", "timm", "mlflow", "pandas", "numpy", "pydantic", "vl_convert", "rich", "click"}
    assert heavy.isdisjoint(done.stdout.split())


def test_rows_and_text_of_a_leaderboard_need_no_plots():
    code = "import sys, prunebench.leaderboard; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "mlflow", "vl_convert", "scipy.stats", "jinja2"}.isdisjoint(done.stdout.split())


def test_the_public_names_are_these():
    assert prunebench.__all__ == [
        "Allocation",
        "Arrays",
        "CalibratedLayer",
        "Classification",
        "Cut",
        "CutAllocation",
        "DataFacts",
        "Dataset",
        "Delivery",
        "Deploy",
        "Deployed",
        "Distillation",
        "Executor",
        "ExitCode",
        "File",
        "Files",
        "Flops",
        "Group",
        "GroupKind",
        "Initialize",
        "Input",
        "Interface",
        "JobResult",
        "JobSpec",
        "LayerwiseMethod",
        "Method",
        "Metric",
        "Model",
        "Network",
        "Objective",
        "Outliers",
        "Part",
        "Preset",
        "Program",
        "Prune",
        "PruneLayerwise",
        "Reconstruct",
        "Reinitialize",
        "Resources",
        "Rewind",
        "RunContext",
        "RunOptions",
        "Runtime",
        "Scoring",
        "Shuffle",
        "Stage",
        "Structure",
        "StructuredMethod",
        "Ticket",
        "Time",
        "TimedPass",
        "Train",
        "Training",
        "Trial",
        "Unit",
        "Unsupported",
        "Updater",
        "Weights",
        "WorkerPool",
        "__version__",
        "added_later",
        "hookimpl",
        "load_leaderboard",
        "load_network",
        "load_program",
        "load_suite",
        "load_ticket",
        "read_weights",
        "run_job",
        "run_suite",
    ]


@pytest.mark.parametrize("name", prunebench.__all__)
def test_every_public_name_is_there(name):
    assert hasattr(prunebench, name)
