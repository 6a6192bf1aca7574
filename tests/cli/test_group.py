"""`prunebench` itself: the table of commands, errors, and what is imported when."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import prunebench as package
from prunebench import cli
from prunebench.api.errors import PrunebenchError, SuiteError

HEAVY = ("torch", "mlflow", "pandas", "vl_convert", "rich", "timm", "prunebench_plugins")


def imported_by(*arguments):
    """The heavy packages that `prunebench ARGUMENTS` imports, in a process of its own."""
    code = (
        "import sys, prunebench.cli\n"
        f"try: prunebench.cli.main({list(arguments)!r})\n"
        f"finally: print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PRUNEBENCH_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return done.stderr.strip()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["schema"], ["schema", "--help"]])
def test_what_needs_no_network_imports_none(arguments):
    assert imported_by(*arguments) == "[]"


def test_help_imports_no_command():
    code = "import sys, prunebench.cli as cli\ntry: cli.main(['--help'])\nfinally: print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "prunebench.cli" in done.stdout
    assert "prunebench.cli." not in done.stdout


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_table_says_what_each_command_says_of_itself(name):
    address, short_help = cli.COMMANDS[name]
    module, _, attribute = address.partition(":")
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    assert command.get_short_help_str(limit=120) == short_help


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name, prunebench):
    result = prunebench(name, "--help")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: main {name} ")


def test_help_lists_every_command_on_one_line_of_80_columns(prunebench):
    lines = prunebench("--help").output.splitlines()
    for name, (_, short_help) in cli.COMMANDS.items():
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert line.endswith(short_help)
        assert len(line) <= 80


def test_the_version_is_the_packages(prunebench):
    assert prunebench("--version").output == f"prunebench, version {package.__version__}\n"


def test_it_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "prunebench", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"prunebench, version {package.__version__}\n"


def test_a_misspelt_command_is_answered_with_the_nearest(prunebench):
    result = prunebench("leaderbord")
    assert result.exit_code == 2
    assert "No such command 'leaderbord'; did you mean 'leaderboard'?" in result.stderr


def test_a_command_like_no_other_is_unknown(prunebench):
    result = prunebench("xyzzy")
    assert result.exit_code == 2
    assert "No such command 'xyzzy'" in result.stderr


def failing(monkeypatch, error):
    @click.command()
    def command():
        raise error

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: command)
    return CliRunner().invoke(cli.main, ["run"])


@pytest.mark.parametrize("error", [PrunebenchError("no such thing"), SuiteError("no such thing")])
def test_an_expected_error_is_a_message_and_exit_code_2(monkeypatch, error):
    result = failing(monkeypatch, error)
    assert result.exit_code == 2
    assert result.stderr == "Error: no such thing\n"
    assert result.stdout == ""


def test_an_error_that_nobody_expected_keeps_its_traceback(monkeypatch):
    result = failing(monkeypatch, ZeroDivisionError("a bug"))
    assert isinstance(result.exception, ZeroDivisionError)


def test_the_readme_lists_every_command():
    table = (Path(__file__).parents[2] / "README.md").read_text("utf-8").partition("## Commands")[2]
    listed = re.findall(r"`(?:prunebench )?([a-z]+)\b[^`]*`", "\n".join(re.findall(r"^\| (.*?) \|", table, re.M)))
    assert set(cli.COMMANDS) <= set(listed)
