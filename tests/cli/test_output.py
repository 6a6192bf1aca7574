"""What is printed on a terminal: text of others cannot control it."""

import ast
import io
import logging
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

import prunebench.cli
from prunebench.cli import run
from prunebench.cli.shared import output, progress
from prunebench.cli.shared.progress import Watcher
from prunebench.execution.estimates import Duration

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


# --- how long a run takes


def scheduler(steps_left):
    """A scheduler of 4 trials that has this many steps left."""
    plan = SimpleNamespace(trials=[None] * 4, nodes={})
    return SimpleNamespace(plan=plan, steps_left=steps_left, has_work=True, store=None, device="cpu")


def lines_of(capsys, wanted, watcher, running):
    """The lines of standard error, once there are as many as wanted, without the time in front of them."""
    with watcher:
        watcher.watch(running)
        found = []
        limit = time.monotonic() + 20
        while len(found) < wanted and time.monotonic() < limit:
            time.sleep(0.01)
            found += capsys.readouterr().err.splitlines()
    return [found[0], *(line[9:] for line in found[1:wanted])]


def test_without_a_terminal_a_line_says_now_and_then_how_far_a_run_is(capsys, monkeypatch):
    monkeypatch.setattr(progress, "HEARTBEAT", 0.02)
    monkeypatch.setattr(progress, "duration", lambda plan, store, device: Duration(7000.0, 10.0, "a guess"))
    watcher = Watcher(Console(file=io.StringIO()), confirm=lambda time: time.of(2))
    running = scheduler(100)
    first, second = lines_of(capsys, 2, watcher, running)
    assert first == "4 trials in 0 stages"
    assert second == "0 of 4 trials, 0% of the steps; about 58 min left, by the estimate"


def test_the_time_that_is_left_is_that_of_the_steps_so_far(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    watcher = Watcher(Console(file=io.StringIO()))
    now[0] += 60
    assert watcher._left(25, 75) == "about 3 min left"
    assert watcher._left(0, 100) == "about ... left"


def test_several_workers_divide_the_time_but_not_that_of_the_longest_chain():
    assert Duration(100.0, 30.0, "").of(2) == 50.0
    assert Duration(100.0, 30.0, "").of(8) == 30.0


@pytest.mark.parametrize(("workers", "said"), [(1, "2.0 d with one worker"), (2, "1.0 d with 2 workers")])
def test_a_run_of_more_than_a_day_says_so_before_it_starts(capsys, workers, said):
    seconds = run._confirmed(Duration(172810.0, 5.0, "a guess"), workers, run.LONG)
    assert seconds == 172810.0 / workers
    assert capsys.readouterr().err == f"this run takes about {said} (a guess)\n"


def test_a_run_that_is_short_or_agreed_to_is_not_announced(capsys):
    run._confirmed(Duration(86000.0, 5.0, "a guess"), 1, run.LONG)
    run._confirmed(Duration(1e9, 5.0, "a guess"), 1, None)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("answer", "starts"), [("y", True), ("n", False), ("", False)])
def test_on_a_terminal_a_long_run_starts_only_after_yes(capsys, monkeypatch, answer, starts):
    monkeypatch.setattr(run.sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda text: answer)
    if starts:
        assert run._confirmed(Duration(1e6, 5.0, "a guess"), 1, run.LONG) == 1e6
        return
    with pytest.raises(SystemExit) as stop:
        run._confirmed(Duration(1e6, 5.0, "a guess"), 1, run.LONG)
    assert stop.value.code == 130
    assert "nothing was run" in capsys.readouterr().err
