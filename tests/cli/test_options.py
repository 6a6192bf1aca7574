"""Options that several commands share."""

from pathlib import Path

import click
from click.testing import CliRunner

from prunebench.api.errors import PluginError
from prunebench.cli.shared import options


def call(option, *arguments, env=None):
    """What a command with this option gets."""
    got = {}

    @click.command()
    @option
    def command(**given):
        got.update(given)

    result = CliRunner().invoke(command, arguments, env=env)
    return result if result.exit_code or result.exception else got


def test_plugin_files_come_as_plain_values_and_as_a_registry(write):
    path = write()
    plugins = call(options.loaded_plugins, "--plugin", path, "--no-plugin", "snip")["plugins"]
    assert plugins.files == (path,)
    assert plugins.blocked == {"snip"}
    assert "coin-flip" in plugins.registry.names("method")
    assert "snip" not in plugins.registry.names("method")


def test_the_names_alone_load_nothing(tmp_path):
    missing = str(tmp_path / "nowhere.py")
    assert call(options.plugin_names, "--plugin", missing) == {"files": (missing,), "blocked": ()}


def test_a_broken_plugin_file_is_an_error_at_once_with_its_name_and_reason(write):
    path = write("import prunebench\n\n1 / 0\n")
    result = call(options.loaded_plugins, "--plugin", path)
    assert isinstance(result.exception, PluginError)
    expected = f"plugin 'coin' ({path}) could not be loaded: ZeroDivisionError: division by zero (coin.py:3)"
    assert str(result.exception) == expected


def test_every_broken_plugin_file_is_named(write, tmp_path):
    result = call(options.loaded_plugins, "--plugin", write("1 / 0"), "--plugin", tmp_path / "nowhere.py")
    first, second = str(result.exception).splitlines()
    assert "coin.py" in first
    assert f"there is no file {tmp_path / 'nowhere.py'}" in second


def test_a_plugin_file_of_the_environment_counts_as_given(write, monkeypatch):
    monkeypatch.setenv("PRUNEBENCH_PLUGINS", write("1 / 0"))
    assert isinstance(call(options.loaded_plugins).exception, PluginError)


def test_leaving_out_a_plugin_that_is_not_there_is_an_error_with_the_nearest_name():
    result = call(options.loaded_plugins, "--no-plugin", "snipp")
    assert str(result.exception) == "--no-plugin: no installed plugin is called 'snipp'; did you mean 'snip'?"


def test_the_store_has_a_default_an_option_and_a_variable():
    assert call(options.store) == {"store": Path(".prunebench")}
    assert call(options.store, "--store", "here") == {"store": Path("here")}
    assert call(options.store, env={"PRUNEBENCH_STORE": "there"}) == {"store": Path("there")}


def test_the_data_folder_has_an_option_and_a_variable():
    assert call(options.data) == {"data": None}
    assert call(options.data, "--data", "here") == {"data": Path("here")}
    assert call(options.data, env={"PRUNEBENCH_DATA": "there"}) == {"data": Path("there")}


def test_settings_and_selections_can_be_given_again_and_again():
    assert call(options.settings, "--set", "seeds=[0]", "--set", "a.b=x=y") == {"settings": ("seeds=[0]", "a.b=x=y")}
    assert call(options.only, "--only", "method=imp", "--only", "seed=0") == {"only": ("method=imp", "seed=0")}


def test_what_is_given_of_a_suite_comes_as_one_value_with_what_the_command_asked_for():
    arguments = ("--set", "seeds=1", "--only", "seed=0", "--store", "here", "--data", "there", "--json")
    more = ("--plugin", "mine.py", "--no-plugin", "snip")
    everything = options.SuiteOptions(("seeds=1",), ("seed=0",), ("mine.py",), ("snip",), Path("here"), Path("there"))
    found = call(options.suite_options("only", "store", "data", "json"), *arguments, *more)
    assert found == {"chosen": everything, "as_json": True}
    assert call(options.suite_options()) == {"chosen": options.SuiteOptions()}
    assert "--only" in call(options.suite_options("store"), "--only", "seed=0").output


def test_options_stand_in_the_help_in_the_order_in_which_a_command_names_them():
    command = click.command()(options.suite_options("only", "store", "data", "json")(lambda **chosen: None))
    names = ["--profile", "--set", "--only", "--store", "--data", "--json", "--plugin", "--no-plugin"]
    assert [param.opts[0] for param in command.params] == names


def test_the_command_that_runs_a_suite_has_what_was_given_of_it():
    chosen = options.SuiteOptions(("a=b c",), ("seed=0",), ("mine.py",), ("snip",), Path("here"))
    assert chosen.run_command(Path("x.yaml")) == (
        "prunebench run x.yaml --set 'a=b c' --store here --plugin mine.py --no-plugin snip"
    )
    assert options.SuiteOptions().run_command(Path("x.yaml")) == "prunebench run x.yaml"
