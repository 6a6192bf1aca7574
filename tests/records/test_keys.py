"""Keys change with what code computes: by its version, or by its source where it declares none."""

import importlib
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

import prunebench
from prunebench.api.versions import PROTOCOL_VERSION
from prunebench.records import sources
from prunebench.records.keys import canonical, canonical_digest, code_of, digest
from prunebench.records.sources import code_text, core_hashes, core_source, source_hash

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
        sources._module_hash.cache_clear()

    def write(module="mine", of=source_hash, **sources):
        for name, source in sources.items():
            (tmp_path / "strangers" / f"{name}.py").write_text(textwrap.dedent(source))
        forget()
        return of(importlib.import_module(f"strangers.{module}").Mine)

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
        path = sources._file_of(cls.__module__)
        return {file.stem for file in sources._closure(cls.__module__, path)}

    assert read("imp") >= {"imp", "magnitude"}
    assert read("snip") & {"imp", "magnitude", "synflow", "random", "dense"} == set()


def test_methods_of_two_files_have_two_hashes_for_their_provenance(registry):
    hashes = {source_hash(registry.find("method", name)[0]) for name in registry.names("method")}
    assert len(hashes) == len({registry.find("method", name)[0].__module__ for name in registry.names("method")})


def test_a_class_of_an_interactive_session_has_no_file(tmp_path):
    code = """
        import prunebench
        from prunebench.records.sources import source_hash
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
    assert found == {
        "name": "by-chance",
        "source": source_hash(tiny.ByChance),
        "parameters": {"strength": 0.5},
    }


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


# --- fields that are added later


@dataclass(frozen=True)
class Grown:
    x: float
    warm: bool = prunebench.added_later(False)
    rate: float = prunebench.added_later(0.5, before=1.0)
    __key_name__ = "Point"


def test_a_field_that_was_added_later_is_left_out_while_it_means_what_was_before():
    assert canonical(Grown(1.5, rate=1.0)) == {"kind": "Point", "x": 1.5}
    assert canonical(Grown(1.5)) == {"kind": "Point", "x": 1.5, "rate": 0.5}
    assert canonical(Grown(1.5, warm=True, rate=1.0)) == {"kind": "Point", "x": 1.5, "warm": True}


def test_a_value_that_is_only_equal_to_the_one_of_before_is_not_left_out():
    assert canonical(Grown(1.5, warm=0, rate=1))["warm"] == 0
    assert canonical(Grown(1.5, warm=0, rate=1))["rate"] == 1


class Begun(prunebench.Method):
    """A method as it was first."""

    name = "begun"
    version = 1
    strength: float = 1.0


class Longer(prunebench.Method):
    """The same with a parameter that came later."""

    name = "begun"
    version = 1
    strength: float = 1.0
    rounds: int = prunebench.added_later(1)


def test_a_component_keeps_its_keys_when_a_parameter_is_added():
    assert digest(Begun()) == digest(Longer()) == digest(Longer(rounds=1))
    assert digest(Begun()) != digest(Longer(rounds=2))


def test_a_class_that_is_renamed_keeps_its_name_in_keys_and_its_subclass_has_its_own():
    assert digest(Grown(1.5, rate=1.0)) == digest(KeptName(1.5))
    assert canonical(Below(1.5, rate=1.0))["kind"] == "Below"


@dataclass(frozen=True)
class KeptName:
    __key_name__ = "Point"
    x: float


@dataclass(frozen=True)
class Below(Grown):
    pass


# --- versions


def versioned(number, base="prunebench.Method", imports=""):
    changed = plugin(imports).replace('name = "mine"', f'name = "mine"\n        version = {number}')
    return changed.replace("prunebench.Method", base)


def test_a_component_with_a_version_enters_by_it_and_not_by_its_source(package):
    first = package(of=code_of, mine=versioned(3))
    assert first == {"version": 3}
    assert first == package(of=code_of, mine=versioned(3).replace(".abs()", ".square()"))
    assert package(of=code_of, mine=versioned(4)) == {"version": 4}


def test_a_component_without_a_version_enters_by_its_source(package):
    assert package(of=code_of, mine=plugin()) == {"source": package(mine=plugin())}


def test_a_subclass_inherits_no_version(package):
    inherits = "import strangers.theirs\n\nclass Mine(strangers.theirs.Mine):\n    name = 'mine-too'\n"
    found = package(of=code_of, mine=inherits, theirs=versioned(3))
    assert found.keys() == {"source"}
    assert found != package(of=code_of, mine=inherits, theirs=versioned(3).replace(".abs()", ".square()"))


def test_a_subclass_of_a_built_in_is_keyed_by_its_source_and_the_version_of_that(package, monkeypatch):
    from prunebench_plugins.snip import SNIP

    inherits = "from prunebench_plugins.snip import SNIP\n\nclass Mine(SNIP):\n    name = 'mine'\n"
    first = package(of=code_of, mine=inherits)
    assert first.keys() == {"source", "bases"}
    assert first["bases"] == {"snip": 1}
    assert first["source"] != package(of=code_of, mine=inherits + "    batches = 3\n")["source"]
    monkeypatch.setattr(SNIP, "version", 2)
    assert package(of=code_of, mine=inherits) == {**first, "bases": {"snip": 2}}


def test_a_version_of_ones_own_does_not_hide_that_of_a_base(package):
    inherits = "from prunebench_plugins.snip import SNIP\n\nclass Mine(SNIP):\n    name = 'mine'\n    version = 5\n"
    assert package(of=code_of, mine=inherits) == {"version": 5, "bases": {"snip": 1}}


def test_of_two_bases_of_one_package_both_count(package):
    inherits = """
        from prunebench_plugins.snip import SNIP
        from prunebench_plugins.magnitude import Magnitude

        class Mine(SNIP, Magnitude):
            name = "mine"
            version = 5
    """
    assert package(of=code_of, mine=inherits) == {"version": 5, "bases": {"snip": 1, "magnitude": 1}}


def test_a_base_of_another_package_without_a_version_enters_by_its_source(package):
    # Its author promised nothing, whatever the subclass says of itself.
    inherits = (
        "from prunebench_plugins.drop_grow import DropGrow\n\nclass Mine(DropGrow):\n    name = 'm'\n    version = 1\n"
    )
    found = package(of=code_of, mine=inherits)
    assert found == {"version": 1, "source": sources._module_hash("prunebench_plugins.drop_grow")}


def test_the_distribution_is_in_the_keys_of_what_declares_no_version_only(package):
    def code(cls):
        cls.origin = "strangers 1.2"
        return code_of(cls)

    assert package(of=code, mine=plugin())["origin"] == "strangers 1.2"
    assert package(of=code, mine=versioned(1)) == {"version": 1}


def test_a_parameter_is_not_taken_for_what_a_key_says_of_the_code(tiny):
    class Odd(prunebench.Method):
        name = "odd"
        source: str = "mine"
        origin: str = "here"

    found = canonical(Odd())
    assert found["source"] == source_hash(Odd)
    assert found["parameters"] == {"source": "mine", "origin": "here"}


def test_every_built_in_component_that_is_in_a_key_declares_its_version(registry):
    classes = {cls for kind in ("method", "model", "dataset") for cls in registry.components[kind].values()}
    named = {cls for cls in classes if cls.__module__.startswith("prunebench_plugins.")}
    named |= {cls for cls in subclasses(prunebench.Method) if cls.__module__.startswith("prunebench_plugins.")}
    without = {cls.__name__ for cls in named if "name" in vars(cls) and not isinstance(vars(cls).get("version"), int)}
    assert without == set()
    assert len(named) > 40


def subclasses(cls):
    return {found for one in cls.__subclasses__() for found in (one, *subclasses(one))}


def test_no_key_of_a_built_in_component_holds_its_source(registry):
    for kind in ("method", "model", "dataset"):
        for name, cls in registry.components[kind].items():
            assert code_of(cls).keys() <= {"version", "bases"}, name


# --- what is recorded of the core's source


def test_the_source_of_the_core_changes_with_its_code_and_not_with_its_comments(monkeypatch):
    def source(change):
        def read(path, *arguments):
            text = path.read_bytes().decode()
            return change(text) if path == ROOT / "pruning/masks.py" else text

        with monkeypatch.context() as patched:
            patched.setattr(Path, "read_text", read)
            patched.setattr(sources, "core_hashes", core_hashes.__wrapped__)
            return core_source.__wrapped__()

    plain = source(lambda text: text)
    assert plain == core_source()
    assert plain == source(lambda text: text + "\n# a comment\n")
    assert plain != source(lambda text: text.replace("joined, k", "joined, k + 1"))


def test_the_source_of_the_core_is_that_of_all_that_plans_and_performs():
    computing = {"training/loop.py", "training/optimizers.py", "pruning/masks.py", "plan/planning.py"}
    assert computing | {"execution/performing.py"} <= core_hashes().keys()
    assert not [name for name in core_hashes() if name.startswith(("cli/", "leaderboard/", "tracking/"))]
    folders = {path.parent.name for path in ROOT.rglob("__init__.py")} - {"prunebench"}
    assert set(sources.PRESENTATION) <= folders | {"templates"}


def test_an_edit_of_the_core_or_of_a_built_in_plugin_changes_no_key(tiny, method, plan_keys, monkeypatch):
    first = plan_keys()
    read = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, *given: read(path, *given) + "\nX = 1\n")
    for cached in (core_source, core_hashes, sources._module_hash, sources._hashes_by_file, canonical_digest):
        cached.cache_clear()
    changed = core_source(), source_hash(type(method("snip")))
    assert plan_keys() == first
    monkeypatch.undo()
    for cached in (core_source, core_hashes, sources._module_hash, sources._hashes_by_file):
        cached.cache_clear()
    assert changed != (core_source(), source_hash(type(method("snip"))))


@pytest.mark.parametrize("kind", ["protocol", "method", "model", "dataset"])
def test_a_version_that_is_raised_changes_the_keys_that_it_is_about(method, plan_keys, digits_task, kind, monkeypatch):
    first = plan_keys()
    if kind == "protocol":
        monkeypatch.setattr("prunebench.plan.planning.PROTOCOL_VERSION", PROTOCOL_VERSION + 1)
    else:
        cls = type(method("snip")) if kind == "method" else type(getattr(digits_task(), kind))
        monkeypatch.setattr(cls, "version", cls.version + 1)
    canonical_digest.cache_clear()
    changed = [one != other for one, other in zip(first, plan_keys(), strict=True)]
    assert changed == ([False, True, True] if kind == "method" else [True, True, True])
    canonical_digest.cache_clear()


@pytest.fixture
def plan_keys(tiny, method, digits_task):
    """The keys of a trial's chain, planned anew: initialize, prune by SNIP, train."""
    from prunebench.plan.planning import make_plan

    def keys():
        canonical_digest.cache_clear()
        [planned] = make_plan([tiny.trial(method("snip"), task=digits_task())], {}).trials
        return planned.chain

    return keys


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
