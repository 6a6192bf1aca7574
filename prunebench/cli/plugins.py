"""`prunebench plugins`."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table
from rich.text import Text

from prunebench.api.registry import Plugin, Registry
from prunebench.cli import options, output


@click.command()
@options.json
@options.plugins
def command(as_json: bool, plugins: options.Plugins) -> None:
    """List the plugins, with what they provide or why they do not."""
    show_plugins(plugins.registry, as_json)


def show_plugins(registry: Registry, in_json: bool = False) -> None:
    """All plugins by name, broken ones with their error; then the names that two plugins register."""
    if in_json:
        output.show_json(_as_json(registry))
        return
    output.show(_rows(registry))
    for message in registry.conflicts.values():
        click.echo(f"\nconflict: {message}")


def _ordered(registry: Registry) -> list[Plugin]:
    return sorted(registry.plugins, key=lambda plugin: (plugin.name, plugin.distribution, plugin.file))


def _as_json(registry: Registry) -> dict[str, Any]:
    keys = ("name", "distribution", "version", "file", "provides", "error")
    conflicts = [{"kind": kind, "name": name, "error": message} for (kind, name), message in registry.conflicts.items()]
    return {
        "plugins": [{key: getattr(plugin, key) for key in keys} for plugin in _ordered(registry)],
        "conflicts": conflicts,
    }


def _rows(registry: Registry) -> Table:
    rows = output.table("plugin", "provides", "from", widest=1)
    for plugin in _ordered(registry):
        rows.add_row(output.text(plugin.name, style="bold"), _provided(plugin), output.text(_origin(plugin)))
    return rows


def _provided(plugin: Plugin) -> Text:
    if plugin.error:
        return output.text(f"BROKEN: {plugin.error}", style="red")
    return output.text(", ".join(plugin.provides) or "nothing")


def _origin(plugin: Plugin) -> str:
    return f"{plugin.distribution} {plugin.version}" if plugin.distribution else plugin.file
