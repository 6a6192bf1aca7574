"""`prunebench run --executor NAME`: the executor's parameters are options."""

import click
import pytest

from prunebench import cli
from prunebench.cli.run import command

PLACE = '''
    from typing import Annotated
    from annotated_types import Ge
    from typing_extensions import Doc
    import prunebench

    class Moon(prunebench.Executor):
        """On the far side."""

        name = "moon"
        craters: Annotated[int, Ge(1), Doc("where to dig")] = 3
        far_side: bool = True
        lander: {lander}

        def open(self, site):
            raise prunebench_error

    @prunebench.hookimpl
    def register_executors():
        return [Moon]
'''


@pytest.fixture
def moon(write):
    def path(lander="str = 'eagle'"):
        return write(PLACE.replace("{lander}", lander), "moon.py")

    return path


def parsed(*arguments):
    """What the command would be called with."""
    group = click.Context(cli.main, info_name="prunebench", **cli.main.context_settings)
    return command.make_context("run", [str(argument) for argument in arguments], parent=group).params


def test_without_a_name_the_local_executor_is_opened():
    executor = parsed("suite.yaml")["executor"]
    assert executor.name == "local"
    assert executor.slots_per_gpu is None


def test_an_executor_gets_its_parameters_from_options_of_their_names(moon):
    found = parsed("suite.yaml", "--executor", "moon", "--plugin", moon(), "--craters", "5", "--no-far-side")
    assert found["executor"].name == "moon"
    assert (found["executor"].craters, found["executor"].far_side, found["executor"].lander) == (5, False, "eagle")
    assert {"craters", "far_side", "moon_craters"}.isdisjoint(found)
    assert found["workers"] is None


def test_options_of_the_default_need_no_name():
    assert parsed("suite.yaml", "--slots-per-gpu", "4")["executor"].slots_per_gpu == 4


def test_help_shows_the_options_of_the_executor_that_is_named(prunebench, moon):
    page = " ".join(prunebench("run", "--executor", "moon", "--plugin", moon(), "--help").output.split())
    assert "--craters TEXT Of moon: where to dig (a whole number of at least 1; default 3)." in page
    assert "--far-side / --no-far-side" in page
    assert "--craters" not in prunebench("run", "--help").output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--executor", "mooon"], "unknown executor 'mooon'; did you mean 'moon'?"),
        (["--executor", "moon", "--craters", "0"], "Invalid value for '--craters'"),
        (["--executor", "moon", "--craters", "many"], "Invalid value for '--craters'"),
        (["--executor", "moon", "--slots-per-gpu", "2"], "No such option"),
        (["--timeout", "30"], "'30' is not a length of time: write 90s, 30min"),
        (["--budget", "0s"], "'0s' must be longer than 0"),
    ],
)
def test_what_cannot_be_is_one_error_that_says_so(prunebench, moon, arguments, words):
    result = prunebench("run", "suite.yaml", "--plugin", moon(), *arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert "Traceback" not in result.output


def test_a_parameter_without_a_default_must_be_given(prunebench, moon):
    result = prunebench("run", "suite.yaml", "--plugin", moon("str"), "--executor", "moon")
    assert result.exit_code == 2
    assert "Missing option '--lander'" in result.output


def test_a_parameter_called_like_an_option_of_every_run_is_refused(prunebench, write):
    path = write(PLACE.replace("far_side", "workers").replace("{lander}", "str = ''"), "moon.py")
    result = prunebench("run", "suite.yaml", "--plugin", path, "--executor", "moon")
    assert "executor 'moon': its parameter 'workers' has the name of another option" in result.output


@pytest.mark.parametrize("error", ["SystemExit(3)", "RuntimeError('no rocket')"])
def test_an_executor_that_cannot_be_made_is_named(prunebench, write, error):
    source = PLACE.replace("{lander}", "str = ''").replace(
        "def open", f"def __post_init__(self):\n            raise {error}\n\n        def open"
    )
    result = prunebench("run", "suite.yaml", "--plugin", write(source, "moon.py"), "--executor", "moon")
    assert result.exit_code == 2
    assert "executor 'moon' cannot be used: " + error.replace("(", ": ").strip(")").replace("'", "") in result.output


def test_the_plugins_are_listed_with_their_executors(prunebench, moon):
    assert "executor moon" in prunebench("plugins", "--plugin", moon()).stdout
    listed = prunebench("executors", "--plugin", moon()).stdout
    assert "On the far side." in listed
    assert "local" in listed


def test_leaving_out_the_local_executor_is_said_when_it_is_needed(prunebench):
    result = prunebench("run", "suite.yaml", "--no-plugin", "local")
    assert result.exit_code == 2
    assert "unknown executor 'local'" in result.output
