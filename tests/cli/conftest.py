import textwrap

import pytest
from click.testing import CliRunner

from prunebench.cli import main

SOURCE = '''
    from __future__ import annotations
    from typing import Annotated, ClassVar, Literal
    from annotated_types import Ge
    from typing_extensions import Doc
    import prunebench

    class Coin(prunebench.Method):
        """Keeps a weight when a coin of [bold]this[/bold] world shows heads.

        As wise as random pruning,
        and dearer.
        """

        name = "coin-flip"
        reference = "Fermat and Pascal, On the division of stakes in an interrupted game, correspondence of 1654"
        presets: ClassVar = {"fair": prunebench.Preset("their third letter", {"coins": 2, "side": "heads"})}
        coins: Annotated[int, Ge(1), Doc("how many coins are flipped for each of the weights of a network")] = 1
        side: Literal["heads", "tails"] = "heads"

    @prunebench.hookimpl
    def register_methods():
        return [Coin]
'''


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def write(tmp_path):
    """Writes a plugin file, `coin.py` with a method if nothing else is said, and gives its path."""

    def to_file(source=SOURCE, name="coin.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        return str(path)

    return to_file


@pytest.fixture
def prunebench():
    """Calls the command line with these arguments."""
    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])
