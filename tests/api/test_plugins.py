"""Plugins as strangers write them: every mistake is named, and harms nobody else."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from prunebench.api import plugins, registry
from prunebench.api.errors import PluginError

BUILT_IN = frozenset(plugins.installed_names())

GOOD = """
    from __future__ import annotations
    from typing import Annotated
    from annotated_types import Ge
    import prunebench

    class Good(prunebench.Method):
        name = "{name}"
        rounds: Annotated[int, Ge(1)] = 1

    @prunebench.hookimpl
    def register_methods():
        return [Good]
"""


@pytest.fixture(autouse=True)
def _forget_modules(tmp_path):
    """Each test's plugins leave with it."""
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def loose(tmp_path):
    """Writes a plugin file and gives its path."""

    def write(source, name="mine.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a distribution of one module with one entry point, as pip would leave it on the path."""

    def write(module, source=GOOD, distribution=None, point=None):
        distribution = distribution or f"dist-{module}"
        site = tmp_path / "sites" / distribution
        metadata = site / f"{distribution.replace('-', '_')}-1.2.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (metadata / "entry_points.txt").write_text(f"[prunebench]\n{point or module} = {module}\n")
        if source is not None:
            (site / f"{module}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        monkeypatch.syspath_prepend(str(site))
        return str(site / f"{module}.py")

    return write


def load(*files, blocked=()):
    """A fresh registry of these files and of what `install` left, without the built-in plugins."""
    return plugins.load.__wrapped__(plugins.loose_files(files), BUILT_IN | frozenset(blocked))


def error_of(source, loose):
    (plugin,) = load(loose(source)).plugins
    assert plugin.provides == ()
    return plugin.error


def test_a_loose_file_provides_its_components_and_says_where_they_come_from(loose):
    path = loose(GOOD.format(name="good"))
    loaded = load(path)
    cls, parameters = loaded.find("method", "good")
    assert loaded.names("method") == ["good"]
    assert parameters == {}
    assert cls().rounds == 1
    assert loaded.origins[cls] == registry.Plugin("mine", path, provides=("method good",))


def test_an_installed_plugin_carries_its_distribution_and_version(install):
    path = install("plugin_a", GOOD.format(name="good"))
    loaded = load()
    (plugin,) = loaded.plugins
    assert (plugin.name, plugin.distribution, plugin.version) == ("plugin_a", "dist-plugin_a", "1.2")
    assert loaded.find("method", "good")[0].origin == "dist-plugin_a 1.2"
    assert plugin.file == path
    assert plugin.origin == f"plugin 'plugin_a' (dist-plugin_a 1.2, {path})"


def test_a_broken_import_is_kept_with_its_error_and_stops_nothing_else(install, loose):
    install("plugin_a", "import prunebench\n\nimport no_such_package_anywhere\n")
    install("plugin_b", GOOD.format(name="good"))
    loaded = load(loose(GOOD.format(name="other")))
    broken, *_ = loaded.plugins
    assert broken.error == "ModuleNotFoundError: No module named 'no_such_package_anywhere' (plugin_a.py:3)"
    assert loaded.names("method") == ["good", "other"]


def test_a_module_that_is_not_there_is_named(install):
    install("plugin_a", source=None)
    assert load().plugins[0].error == "ModuleNotFoundError: No module named 'plugin_a'"


def test_a_plugin_that_exits_is_kept_with_its_error(loose):
    assert error_of("import sys\nsys.exit('no licence')", loose) == "SystemExit: no licence (mine.py:2)"


def test_an_interrupt_while_a_plugin_loads_is_the_users(loose):
    with pytest.raises(KeyboardInterrupt):
        load(loose("raise KeyboardInterrupt"))


def test_a_syntax_error_is_kept_with_its_line(loose):
    error = error_of("import prunebench\n\ndef register_methods(:\n", loose)
    assert error.startswith("SyntaxError: ")
    assert "mine.py, line 3" in error


def test_the_error_names_the_authors_line_and_not_a_librarys(loose):
    source = """
        import json

        import prunebench

        @prunebench.hookimpl
        def register_methods():
            return json.loads("{")
    """
    error = error_of(source, loose)
    assert error.startswith("JSONDecodeError: ")
    assert error.endswith("(mine.py:8)")


def test_an_error_of_several_lines_becomes_one(loose):
    assert error_of("raise ValueError('one\\n    two')", loose) == "ValueError: one two (mine.py:1)"


def test_an_exit_inside_a_hook_stops_nothing_else(install, loose):
    install("plugin_a", "import prunebench\n@prunebench.hookimpl\ndef register_methods():\n    raise SystemExit(3)\n")
    loaded = load(loose(GOOD.format(name="good")))
    assert loaded.plugins[0].error == "SystemExit: 3 (plugin_a.py:4)"
    assert loaded.names("method") == ["good"]


def test_a_misspelt_hook_is_answered_with_the_right_one(loose):
    source = GOOD.format(name="good").replace("register_methods", "register_method")
    assert error_of(source, loose) == "there is no hook register_method; did you mean register_methods?"


def test_a_hook_of_no_known_kind_is_answered_with_all_there_are(loose):
    source = GOOD.format(name="good").replace("register_methods", "optimise")
    expected = (
        "there is no hook optimise; there are register_datasets, register_executors, register_methods, "
        "register_models, register_objectives, register_runtimes"
    )
    assert error_of(source, loose) == expected


def test_an_optional_hook_that_does_not_exist_here_is_no_error(loose):
    path = loose(GOOD.format(name="good") + "\n    @prunebench.hookimpl(optionalhook=True)\n    def later(): ...\n")
    assert load(path).names("method") == ["good"]


def test_a_hook_with_arguments_is_named(loose):
    error = error_of(GOOD.format(name="good").replace("register_methods()", "register_methods(suite)"), loose)
    assert "register_methods(suite)" in error
    assert "Argument(s) {'suite'} are declared in the hookimpl but can not be found" in error


def test_a_forgotten_marker_is_found(loose):
    source = GOOD.format(name="good").replace("@prunebench.hookimpl", "")
    assert error_of(source, loose) == (
        "its function register_methods lacks the marker: write @prunebench.hookimpl above it"
    )


def test_a_marker_that_is_forgotten_beside_a_good_hook_is_found(loose):
    source = GOOD.format(name="good") + "\n    def register_models():\n        return []\n"
    assert error_of(source, loose).startswith("its function register_models lacks the marker")


def test_a_file_without_hooks_is_an_error(loose):
    assert error_of("import prunebench", loose).startswith("it implements no hook; there are register_datasets, ")


@pytest.mark.parametrize(("answer", "shown"), [("Good", "<class"), ("None", "None"), ("'good'", "'good'")])
def test_a_hook_must_return_a_list(loose, answer, shown):
    error = error_of(GOOD.format(name="good").replace("[Good]", answer), loose)
    assert error.startswith(f"register_methods must return a list of classes, and returned {shown}")


@pytest.mark.parametrize("answer", ["Good()", "int", "prunebench.Model", "'good'"])
def test_a_hook_must_return_subclasses_of_its_kind(loose, answer):
    error = error_of(GOOD.format(name="good").replace("[Good]", f"[{answer}]"), loose)
    assert error.startswith("register_methods must return subclasses of prunebench.Method, and returned ")


@pytest.mark.parametrize("name", ["", "Good", "two words", "-good", "good/er", "good_er"])
def test_a_name_is_lower_case_letters_digits_dots_and_hyphens(loose, name):
    error = error_of(GOOD.format(name=name), loose)
    assert error.startswith(f"register_methods returned Good, whose name is {name!r}: a name is lower-case letters")


@pytest.mark.parametrize("version", ["0", "-1", "True", "1.5", "'1'"])
def test_a_version_is_a_whole_number_from_1_on(loose, version):
    error = error_of(GOOD.format(name="good").replace('name = "good"', f'name = "good"; version = {version}'), loose)
    assert error.startswith(f"Good has the version {version}: a version is a whole number from 1 on")


def test_a_parameter_called_version_is_an_error_and_not_taken_for_a_version(loose):
    error = error_of(GOOD.format(name="good").replace('name = "good"', 'name = "good"; version: int = 1'), loose)
    assert error.startswith("Good has a parameter called version, which is the name of the version of its code")


def test_a_class_without_a_name_is_an_error(loose):
    error = error_of(GOOD.replace('name = "{name}"', "pass"), loose)
    assert error.startswith("register_methods returned Good, whose name is None")


PAIR = """
    import prunebench

    class Twice(prunebench.Method):
        name = "twice"

    class Extra(prunebench.Method):
        name = "extra"

    @prunebench.hookimpl
    def register_methods():
        return [Twice, Extra]
"""


def test_a_duplicate_name_names_both_origins_and_only_that_name_is_unusable(install, loose):
    first = install("plugin_a", GOOD.format(name="twice"))
    second = loose(PAIR)
    loaded = load(second)
    assert loaded.names("method") == ["extra"]
    with pytest.raises(PluginError) as caught:
        loaded.find("method", "twice")
    message = str(caught.value)
    assert message == loaded.conflicts["method", "twice"]
    assert message.startswith("method 'twice' is registered by plugin 'plugin_a' (dist-plugin_a 1.2, ")
    assert first in message
    assert second in message
    assert "--no-plugin" in message


def test_the_same_name_for_a_method_and_a_model_is_no_conflict(loose):
    model = GOOD.format(name="both").replace("Method", "Model").replace("register_methods", "register_models")
    loaded = load(loose(GOOD.format(name="both")), loose(model, "other.py"))
    assert loaded.conflicts == {}
    assert loaded.names("method") == loaded.names("model") == ["both"]


def test_a_blocked_plugin_is_not_imported(install, tmp_path):
    mark = tmp_path / "imported"
    install("plugin_a", f"open({str(mark)!r}, 'w').close()\n")
    assert "plugin_a" in plugins.installed_names()
    assert "plugin_a" in plugins.foreign_names()
    assert not {"snip", "dense"} & set(plugins.foreign_names())
    assert load(blocked={"plugin_a"}).plugins == ()
    assert not mark.exists()


def test_blocking_an_installed_plugin_lets_its_own_file_take_its_place(install, loose):
    install("mine", GOOD.format(name="good"))
    path = loose(GOOD.format(name="good"))
    assert ("method", "good") in load(path).conflicts
    loaded = load(path, blocked={"mine"})
    assert [plugin.file for plugin in loaded.plugins] == [path]
    assert loaded.names("method") == ["good"]


def test_two_entry_points_of_one_module_register_it_once(install):
    install("plugin_a", GOOD.format(name="good"))
    install("plugin_a", source=None, distribution="dist-z", point="again")
    loaded = load()
    assert loaded.names("method") == ["good"]
    assert loaded.plugins[1].error.startswith("it is the same module as dist-plugin_a:plugin_a:")


def test_loose_files_come_from_the_variable_and_the_command_line_each_once(loose, monkeypatch, tmp_path):
    first, second = loose(GOOD.format(name="first"), "first.py"), loose(GOOD.format(name="second"), "second.py")
    monkeypatch.setenv("PRUNEBENCH_PLUGINS", os.pathsep.join([first, ""]))
    monkeypatch.chdir(tmp_path)
    assert plugins.loose_files(["second.py", Path(first)]) == (first, second)
    assert load().names("method") == ["first"]


def test_a_loose_file_that_is_not_there_is_an_error_of_its_own(tmp_path):
    (plugin,) = load(tmp_path / "nowhere.py").plugins
    assert plugin.error == f"FileNotFoundError: there is no file {tmp_path / 'nowhere.py'}"


def test_a_loose_file_that_is_not_python_is_an_error_of_its_own(loose):
    path = loose("import prunebench", "plugin.txt")
    assert load(path).plugins[0].error == f"ImportError: {path} is not a Python file"


def test_loose_files_of_one_name_live_beside_each_other(loose):
    first, second = loose(GOOD.format(name="first"), "a/mine.py"), loose(GOOD.format(name="second"), "b/mine.py")
    loaded = load(first, second)
    assert loaded.names("method") == ["first", "second"]
    assert len({cls.__module__ for cls in loaded.components["method"].values()}) == 2


def test_a_loose_file_that_fails_leaves_no_module_behind(loose):
    before = set(sys.modules)
    load(loose("import prunebench\nraise RuntimeError"))
    assert set(sys.modules) == before


def test_the_order_of_installation_makes_no_difference(install, monkeypatch):
    install("plugin_b", GOOD.format(name="b"))
    install("plugin_a", GOOD.format(name="a"))
    one = load()
    monkeypatch.setattr(sys, "path", sys.path[1::-1] + sys.path[2:])
    other = load()
    assert [plugin.name for plugin in one.plugins] == [plugin.name for plugin in other.plugins]
    assert [plugin.name for plugin in one.plugins] == ["plugin_a", "plugin_b"]


def test_an_unknown_name_is_answered_with_the_nearest(loose):
    loaded = load(loose(GOOD.format(name="magnificent")))
    with pytest.raises(PluginError, match=r"^unknown method 'magnifisent'; did you mean 'magnificent'\?$"):
        loaded.find("method", "magnifisent")


def test_an_unknown_name_like_no_other_points_to_the_listing():
    with pytest.raises(PluginError, match=r"^unknown dataset 'zzz'; `prunebench datasets` lists them$"):
        load().find("dataset", "zzz")


def test_an_unknown_name_is_answered_with_the_plugins_that_may_have_had_it(install):
    install("plugin_a", "1 / 0\n")
    with pytest.raises(PluginError) as caught:
        load().find("method", "good")
    assert "note: plugin 'plugin_a' (dist-plugin_a 1.2, plugin_a) could not be loaded: Zero" in str(caught.value)


FAMILY = """
    import prunebench

    class Zoo(prunebench.Model):
        name = "zoo"
        variant = "animal"
        animal: str

    class Plain(prunebench.Model):
        name = "plain"

    @prunebench.hookimpl
    def register_models():
        return [Zoo, Plain]
"""


def test_the_part_after_a_slash_sets_the_variant(loose):
    cls, parameters = load(loose(FAMILY)).find("model", "zoo/tiger/2")
    assert cls(**parameters).animal == "tiger/2"


def test_a_slash_after_a_name_without_variants_is_unknown(loose):
    with pytest.raises(PluginError, match="unknown model 'plain/tiger'"):
        load(loose(FAMILY)).find("model", "plain/tiger")


def test_a_variant_of_a_claimed_name_names_both_origins(loose):
    loaded = load(loose(FAMILY), loose(FAMILY, "other.py"))
    with pytest.raises(PluginError, match="model 'zoo' is registered by"):
        loaded.find("model", "zoo/tiger")


def test_controls_are_the_methods_that_say_so(loose):
    control = GOOD.format(name="untouched").replace("rounds:", "control = True\n        rounds:")
    loaded = load(loose(GOOD.format(name="good")), loose(control, "other.py"))
    assert [cls.name for cls in loaded.controls()] == ["untouched"]


def test_an_empty_registry_knows_nothing_and_says_so():
    empty = registry.Registry()
    assert empty.names("method") == []
    assert empty.controls() == []
    with pytest.raises(PluginError, match="unknown method"):
        empty.find("method", "good")


def test_loading_twice_gives_the_same_registry(loose):
    path = loose(GOOD.format(name="good"))
    assert plugins.load((path,), BUILT_IN) is plugins.load((path,), BUILT_IN)


def test_the_trace_shows_hook_calls(loose, monkeypatch, capsys):
    monkeypatch.setenv("PRUNEBENCH_TRACE", "1")
    load(loose(GOOD.format(name="good")))
    assert "[hook] " in capsys.readouterr().err


def test_importing_the_registry_imports_no_plugin():
    code = "import sys, prunebench.api.plugins; print([m for m in sys.modules if m.startswith('prunebench_plugins')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_built_in_plugin_loads():
    loaded = plugins.load()
    assert [plugin.error for plugin in loaded.plugins if plugin.distribution == "prunebench" and plugin.error] == []
    assert {cls.origin for cls, plugin in loaded.origins.items() if plugin.distribution == "prunebench"} == {""}
    assert loaded.conflicts == {}
