"""What is printed on a terminal: text of others cannot control it."""

import ast
import io
import logging
from pathlib import Path

import pytest
from rich.console import Console

import prunebench.cli
from prunebench.cli.shared import output
from prunebench.cli.shared.progress import Watcher

HOSTILE = "a\x1b]0;title\x07b\x9b2J\u202ec\u200bd"
SHOWN = r"a\x1b]0;title\x07b\x9b2J\u202ec\u200bd"


@pytest.fixture
def terminal(monkeypatch):
    """What `output.show` prints on a terminal without colours."""
    file = io.StringIO()
    monkeypatch.setattr(
        output, "Console", lambda **_: Console(file=file, force_terminal=True, color_system=None, width=200)
    )
    return file


def test_text_tables_and_grids_show_control_characters_on_a_terminal(terminal):
    table = output.table("name", "text")
    table.add_row(output.text(HOSTILE, style="bold"), output.text("plain"))
    output.show(table, output.grid([(HOSTILE, HOSTILE)]), output.text(f"two\n{HOSTILE}"))
    printed = terminal.getvalue()
    assert printed.count(SHOWN) == 4
    assert all(line.isprintable() for line in printed.replace("\x1b[1m", "").replace("\x1b[0m", "").split("\n"))
    assert "two\n" in "\n".join(line.rstrip() for line in printed.split("\n"))


def test_lines_under_the_progress_bar_show_control_characters():
    file = io.StringIO()
    watcher = Watcher(Console(file=file, force_terminal=True, color_system=None, width=200))
    from rich.progress import Progress

    watcher._bar = Progress(console=watcher._console, auto_refresh=False)
    with watcher:
        logging.getLogger("prunebench.somewhere").warning("lost: %s", HOSTILE)
    assert f"WARNING: lost: {SHOWN}" in file.getvalue()


def test_commands_make_text_only_where_control_characters_are_replaced():
    for path in sorted(Path(prunebench.cli.__file__).parent.rglob("*.py")):
        names = [
            node.func.id
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        assert "Text" not in names or path.name == "output.py", path.name
