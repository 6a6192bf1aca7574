"""The command line. Each command is in its own module, which is imported only when the command is called."""

from __future__ import annotations

import errno
import gc
import importlib
import sys
from collections.abc import Mapping
from typing import Any

import click

from prunebench.api import __version__
from prunebench.api.errors import PrunebenchError
from prunebench.messages.plain_text import lines
from prunebench.messages.redaction import redacted
from prunebench.messages.suggestions import nearest

INTERRUPTED = 130
"""Exit code of a command that was stopped by Ctrl-C."""
COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("prunebench.cli.run:command", "Run a suite; results in the store are reused."),
    "plan": ("prunebench.cli.plan:command", "Show what a suite would run, and its cost."),
    "status": ("prunebench.cli.status:command", "Show the progress of a suite."),
    "why": ("prunebench.cli.why:command", "Explain why a trial runs again."),
    "sync": ("prunebench.cli.boards.sync:command", "Send results that wait in the store to MLflow."),
    "cache": ("prunebench.cli.cache:command", "Show, verify or clean up the store."),
    "leaderboard": ("prunebench.cli.boards.leaderboard:command", "Make tables and plots from tracked results."),
    "compare": (
        "prunebench.cli.boards.compare:command",
        "Compare two boards: better, worse, new, gone or not comparable.",
    ),
    "merge": ("prunebench.cli.boards.merge:command", "Merge the results of several machines or people into one board."),
    "verify": (
        "prunebench.cli.boards.verify:command",
        "Run a published row again, and check whether it is reproduced.",
    ),
    "export": ("prunebench.cli.export:command", "Write a trial's ticket, or its pruned network, to a file."),
    "register": (
        "prunebench.cli.boards.register:command",
        "Register the best networks of a suite in MLflow.",
    ),
    "inspect": ("prunebench.cli.inspect:command", "Show a trial: curves, layers, masks, weights, stability."),
    "methods": ("prunebench.cli.listings:methods", "List the pruning methods, or describe one."),
    "models": ("prunebench.cli.listings:models", "List the models, or describe one."),
    "datasets": ("prunebench.cli.listings:datasets", "List the data sets, or describe one."),
    "objectives": ("prunebench.cli.listings:objectives", "List what can be trained for, or describe one."),
    "executors": ("prunebench.cli.listings:executors", "List the executors, or describe one."),
    "runtimes": ("prunebench.cli.listings:runtimes", "List the runtimes of delivered networks, or describe one."),
    "check": ("prunebench.cli.check:command", "Run the conformance checks on a method, with small networks."),
    "new": ("prunebench.cli.new:command", "Write a package with a working method, its tests and a suite."),
    "plugins": ("prunebench.cli.listings:plugins", "List the plugins, with their components or errors."),
    "suites": ("prunebench.cli.suites:command", "List the shipped suites, or print one to edit it."),
    "schema": ("prunebench.cli.schema:command", "Print the JSON schema of a suite, for editors."),
}
"""The function of each command, and its line in `prunebench --help`, which is printed without importing it."""


class Failure(click.ClickException):
    """An expected error: its message is printed without a traceback, and the exit code is 2."""

    exit_code = 2


class LazyGroup(click.Group):
    """A group that lists its commands from `COMMANDS`, and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        near = nearest(args[0], COMMANDS, cutoff=0.6)
        if near and args[0] not in COMMANDS:
            ctx.fail(f"No such command {args[0]!r}; did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, short_help) for name, (_, short_help) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OSError as error:
            if (reason := _of_a_file(error)) is None:
                raise
            raise Failure(reason) from error
        except PrunebenchError as error:
            raise Failure(lines(redacted(str(error)))) from error
        except KeyboardInterrupt:
            click.echo("\nstopped", err=True)
            sys.exit(INTERRUPTED)


_OF_FILES = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR}
_OF_FILES |= {errno.EEXIST, errno.ENAMETOOLONG, errno.ENOENT, errno.ELOOP, errno.EIO, errno.EFBIG}


def _of_a_file(error: OSError) -> str | None:
    """The message for an error of a file or folder; None for other errors."""
    if error.errno not in _OF_FILES:
        return None
    where = f"{error.filename}: " if error.filename is not None else ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "free some space, and the same command continues" if full else "name another, or remove it"
    return lines(f"{where}{error.strerror}; {advice}")


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="prunebench")
def main() -> None:
    """The benchmark suite for neural-network pruning methods."""
    # Imported modules and plans stay alive; by default the garbage collector scans them again and again, which takes
    # a seventh of the time to plan ten thousand trials.
    gc.set_threshold(50_000)
