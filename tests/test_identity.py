"""Keys change with what the code computes, and with nothing else."""

import ast
import importlib
import importlib.util
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

import prunebench
from prunebench import identity
from prunebench.identity import NUMERICS, canonical, canonical_digest, code_text, core_version, digest, source_hash

ROOT = Path(prunebench.__file__).parent

PLUGIN = '''
    """A plugin."""

    import prunebench
    {imports}

    class Mine(prunebench.Method):
        """A method."""

        name = "mine"
        strength: float = 1.0

        def scores(self, scoring):
            """Scores."""
            return {{name: weight.abs() for name, weight in scoring.weights.items()}}
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes the modules of a package; gives the hash of the class in one of them, as a new process sees it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "strangers").mkdir()
    (tmp_path / "strangers" / "__init__.py").write_text("")

    def forget():
        for name in [name for name in sys.modules if name.partition(".")[0] == "strangers"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        identity._module_hash.cache_clear()

    def write(module="mine", **sources):
        for name, source in sources.items():
            (tmp_path / "strangers" / f"{name}.py").write_text(textwrap.dedent(source))
        forget()
        return source_hash(importlib.import_module(f"strangers.{module}").Mine)

    yield write
    forget()


def plugin(imports=""):
    return PLUGIN.format(imports=imports)


def test_the_hash_of_a_source_is_repeatable(package):
    assert package(mine=plugin()) == package(mine=plugin())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"""A method."""', '"""Another text."""'),
        ('"""A method."""\n', ""),
        ('"""Scores."""', '"""Scores, said better."""'),
        ('"""A plugin."""', '"""A better plugin."""\n\n    # a comment'),
        ("strength: float = 1.0", "strength: float = 1.0  # of what?"),
        ("scores(self, scoring)", "scores(\n            self, scoring\n        )"),
        ('"mine"', "'mine'"),
    ],
)
def test_an_edit_of_comments_docstrings_or_layout_changes_no_hash(package, before, after):
    assert before in plugin()
    assert package(mine=plugin().replace(before, after)) == package(mine=plugin())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("weight.abs()", "-weight.abs()"),
        ("weight.abs()", "weight.square()"),
        ("strength: float = 1.0", "strength: float = 2.0"),
        ("name, weight in", "name, weight in list(scoring.weights.items()) or"),
        ('name = "mine"', 'name = "mine"\n        reference = "somebody"'),
    ],
)
def test_an_edit_of_code_changes_the_hash(package, before, after):
    assert before in plugin()
    assert package(mine=plugin().replace(before, after)) != package(mine=plugin())


def test_a_text_that_is_no_docstring_counts(package):
    # A string in the middle of an expression is a value.
    first = package(mine=plugin() + "\n    KIND = 'one'\n")
    assert first != package(mine=plugin() + "\n    KIND = 'other'\n")


@pytest.mark.parametrize(
    "statement",
    [
        "import strangers.scale",
        "from strangers import scale",
        "from strangers.scale import FACTOR",
        "from . import scale",
        "from .scale import FACTOR",
    ],
)
def test_an_edit_of_a_module_that_is_imported_from_the_same_package_changes_the_hash(package, statement):
    first = package(mine=plugin(statement), scale="FACTOR = 1")
    assert first == package(scale="FACTOR = 1  # one")
    assert first != package(scale="FACTOR = 2")


def test_an_import_inside_of_a_function_counts(package):
    late = plugin().replace("return {", "from strangers.scale import FACTOR\n            return {")
    assert package(mine=late, scale="FACTOR = 1") != package(scale="FACTOR = 2")


def test_imports_are_followed_further(package):
    sources = {"mine": plugin("from strangers import scale"), "scale": "from strangers.deep import FACTOR"}
    assert package(**sources, deep="FACTOR = 1") != package(deep="FACTOR = 2")


def test_modules_that_import_each_other_are_hashed_once(package):
    sources = {"mine": plugin("import strangers.scale"), "scale": "import strangers.mine\nFACTOR = 1"}
    assert package(**sources) != package(scale="import strangers.mine\nFACTOR = 2")


def test_an_edit_of_a_class_of_another_package_that_it_builds_on_changes_the_hash(package, tmp_path):
    (tmp_path / "elsewhere.py").write_text(textwrap.dedent(plugin()))
    inherits = "import elsewhere\n\nclass Mine(elsewhere.Mine):\n    name = 'mine-too'\n"
    before = package(mine=inherits)
    assert before == package(mine=inherits)
    sys.modules.pop("elsewhere")
    (tmp_path / "elsewhere.py").write_text(textwrap.dedent(plugin()).replace(".abs()", ".square()"))
    after = package(mine=inherits)
    sys.modules.pop("elsewhere")
    assert before != after


def test_an_edit_of_another_plugin_changes_nothing(package):
    first = package(mine=plugin(), theirs="SCALE = 1")
    assert first == package(theirs="SCALE = 2")


def test_a_built_in_method_is_hashed_with_the_plugin_that_it_builds_on(registry):
    def read(name):
        cls = registry.find("method", name)[0]
        path = identity._file_of(cls.__module__)
        return {file.stem for file in identity._closure(cls.__module__, path)}

    assert read("imp") >= {"imp", "magnitude"}
    assert read("snip") & {"imp", "magnitude", "synflow", "random", "dense"} == set()


def test_methods_of_two_files_have_two_hashes(registry):
    hashes = {source_hash(registry.find("method", name)[0]) for name in registry.names("method")}
    assert len(hashes) == len({registry.find("method", name)[0].__module__ for name in registry.names("method")})


def test_a_class_of_an_interactive_session_has_no_file(tmp_path):
    code = """
        import prunebench
        from prunebench.identity import source_hash
        class Mine(prunebench.Method):
            name = "mine"
        print(source_hash(Mine))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "interactive\n"


# --- canonical values


@dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0


@dataclass(frozen=True)
class Place:
    x: float
    y: float = 0.0


def test_a_value_enters_by_its_kind_and_its_fields():
    assert canonical(Point(1.5)) == {"kind": "Point", "x": 1.5, "y": 0.0}
    assert digest(Point(1.5)) == digest(Point(1.5, 0.0))
    assert len({digest(Point(1.5)), digest(Point(1.25)), digest(Place(1.5)), digest([Point(1.5)])}) == 4


def test_a_component_enters_by_its_name_its_parameters_and_its_source(tiny):
    found = canonical(tiny.ByChance(strength=0.5))
    assert found == {"name": "by-chance", "source": source_hash(tiny.ByChance), "strength": 0.5}


def test_the_version_of_a_distribution_enters(tiny, monkeypatch):
    plain = digest(tiny.ByChance())
    monkeypatch.setattr(tiny.ByChance, "origin", "strangers 1.0")
    first = digest(tiny.ByChance())
    monkeypatch.setattr(tiny.ByChance, "origin", "strangers 1.1")
    assert len({plain, first, digest(tiny.ByChance())}) == 3


def test_components_inside_of_stages_enter_too(tiny):
    first, second = (prunebench.Prune(by=tiny.ByChance(strength=strength), density=0.5) for strength in (1.0, 2.0))
    assert digest(first) != digest(second)


def test_lists_and_tuples_are_the_same_and_mappings_have_no_order():
    assert digest([1, 2]) == digest((1, 2))
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest([1, 2]) != digest([2, 1])


def test_parts_are_not_run_together():
    assert len({digest("ab", "c"), digest("a", "bc"), digest("abc"), digest(["ab", "c"])}) == 4


def test_numbers_that_no_json_holds_are_an_error():
    with pytest.raises(ValueError, match="JSON"):
        digest(float("nan"))


def test_a_digest_is_the_same_in_every_process_and_release():
    # Another one would be another key of everything in every store.
    assert digest("trial", 1, [0.1, None], {"b": True, "a": 2}) == "2f99adcabc33fbfb95903bff435d2dda"


def test_the_digest_of_a_frozen_value_is_its_digest():
    assert canonical_digest(prunebench.Rewind(to="5it")) == digest(prunebench.Rewind(to="5it"))


# --- the core's own version

WITHOUT_NUMBERS = {
    "errors": "raises, and computes nothing",
    "identity": "makes the keys themselves; data is filed under a digest, and found by its fingerprint",
    "plan": "what it decides (steps, densities, sources) is in the keys",
    "components": "declares what plugins override; the default of `prunable` is in network",
    "environment": "tells how many cores there are, for as many loaders as may help: pictures do not depend on it",
    "suite": "only holds its modules together",
    "suite.values": "its values are in the keys; the steps of an epoch and a density are pinned by tests",
    "suite.optimizers": "what an optimizer is told is in the keys; what it is not told is torch's and timm's own",
    "": "the public names",
}
"""What training and scoring import from the core without its code being in the keys, and why that is right."""


def core_imports(module):
    """Names of the core's modules that a module imports for more than its annotations."""
    path = ROOT / Path(*module.split(".")).with_suffix(".py")
    if not path.is_file():
        path = ROOT / Path(*module.split(".")) / "__init__.py"
    for node in without_type_checking(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "prunebench" and is_module(name):
                yield rest


def without_type_checking(tree):
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from without_type_checking(node)


def is_module(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def test_numerics_names_modules_that_exist_in_order():
    assert all(is_module(f"prunebench.{name}") for name in NUMERICS)
    assert list(NUMERICS) == sorted(set(NUMERICS))


def test_numerics_names_all_that_training_and_scoring_are_computed_with():
    found, waiting = set(), ["training", "execution.perform"]
    while waiting:
        module = waiting.pop()
        if module not in found and module not in WITHOUT_NUMBERS:
            found.add(module)
            waiting += core_imports(module)
    assert found - {"execution"} <= set(NUMERICS), "add them, or say in WITHOUT_NUMBERS why not"
    assert set(NUMERICS) - found == set(), "nothing that computes imports these"


def test_no_exception_is_left_over():
    used = {name for module in NUMERICS for name in core_imports(module)}
    assert used & WITHOUT_NUMBERS.keys() | {"suite", ""} >= WITHOUT_NUMBERS.keys()


def test_the_version_of_the_core_changes_with_its_code_and_not_with_its_comments(monkeypatch, tmp_path):
    def version(change):
        def read(path, *arguments):
            text = path.read_bytes().decode()
            return change(text) if path == ROOT / "masks.py" else text

        with monkeypatch.context() as patched:
            patched.setattr(Path, "read_text", read)
            return core_version.__wrapped__()

    plain = version(lambda text: text)
    assert plain == core_version()
    assert plain == version(lambda text: text + "\n# a comment\n")
    assert plain != version(lambda text: text.replace("joined, k", "joined, k + 1"))


def test_code_is_compared_by_its_syntax_tree():
    assert code_text("def f():\n    'text'\n    return 1") == code_text("def f(): return 1  # one")
    assert code_text("def f(): return 1") != code_text("def f(): return 2")
    assert code_text("def f():\n    'text'") != code_text("def f(): pass")


def test_code_is_the_same_text_in_every_version_of_python():
    # As 3.11, 3.12 and 3.13 agree on it: 3.12 splits the text of an f-string in two, 3.13 leaves empty fields out.
    assert code_text("def f(x=1):\n    return f'a{{b{x!r:>4}'") == (
        "Module(body=[FunctionDef(name='f',args=arguments(args=[arg(arg='x')],defaults=[Constant(value=1)]),"
        "body=[Return(value=JoinedStr(values=['a{b',FormattedValue(value=Name(id='x'),conversion=114,"
        "format_spec=JoinedStr(values=['>4']))]))])])"
    )
