"""`prunebench schema`."""

from __future__ import annotations

import json

import click

from prunebench.cli.shared import options


@click.command()
@click.option("--full", is_flag=True, help="With every method, model and data set, and their parameters.")
@options.plugin_names
def command(full: bool, files: tuple[str, ...], blocked: tuple[str, ...]) -> None:
    """Print the JSON schema of a suite, for editors."""
    from prunebench.suite.schema import suite_schema

    # Without the names that plugins provide none of them is imported, nor torch.
    registry = options.load_plugins(files, blocked).registry if full or files or blocked else None
    click.echo(json.dumps(suite_schema(registry), indent=2, ensure_ascii=False))
