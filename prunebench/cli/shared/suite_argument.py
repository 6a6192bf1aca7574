"""The argument SUITE: a YAML file, or the name of a shipped suite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from prunebench.cli.shared import output
from prunebench.suite.shipped import ambiguity, shipped

Command = Callable[..., Any]


class SuiteFile(click.Path):
    """The path of a suite, or its name; where both could be meant, a note says which is used."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if note := ambiguity(value):
            output.note(note)
        return super().convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        names = [CompletionItem(name) for name in shipped() if name.startswith(incomplete)]
        return [*names, *super().shell_complete(ctx, param, incomplete)]


def suite(function: Command) -> Command:
    """The argument SUITE, as `suite: Path`."""
    return click.argument("suite", type=SuiteFile())(function)
