"""Every hook is documented, marked, and gets its classes into the registry."""

import inspect
import textwrap

import pluggy
import pytest

import prunebench
from prunebench.api import hooks, plugins, registry

HOOKS = sorted(name for name in vars(hooks) if name.startswith("register_"))


@pytest.fixture
def manager():
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    return manager


def test_the_hooks_are_those_of_the_kinds():
    assert [f"register_{kind}s" for kind in sorted(registry.KINDS)] == HOOKS


def test_the_public_marker_is_the_one_that_the_hooks_are_specified_for():
    assert prunebench.hookimpl is hooks.hookimpl
    assert hooks.hookspec.project_name == hooks.hookimpl.project_name == hooks.PROJECT == "prunebench"


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_documented(name):
    assert inspect.getdoc(getattr(hooks, name))


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_specified_without_arguments(name, manager):
    specification = getattr(manager.hook, name).spec
    assert specification is not None
    assert specification.argnames == ()


@pytest.mark.parametrize("kind", sorted(registry.KINDS))
def test_what_a_hook_returns_is_found_by_its_name(kind, tmp_path):
    path = tmp_path / "plugin.py"
    source = f"""
        import prunebench

        class Mine(prunebench.{registry.KINDS[kind].__name__}):
            name = "mine"

        @prunebench.hookimpl
        def register_{kind}s():
            return [Mine]
    """
    path.write_text(textwrap.dedent(source))
    loaded = plugins.load.__wrapped__((str(path),), frozenset(plugins.installed_names()))
    cls, _ = loaded.find(kind, "mine")
    assert issubclass(cls, registry.KINDS[kind])
    assert [kind for kind in registry.KINDS if loaded.names(kind)] == [kind]
