"""`prunebench methods`, `models`, `datasets`, `objectives`, `executors`, `runtimes`: listings; and `plugins`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from prunebench.api.components import Preset
from prunebench.api.registry import Kind, Plugin, Registry
from prunebench.cli.shared import options, output
from prunebench.suite.descriptions import Description, Parameter, as_json, describe, describe_all, plain


def listing(kind: Kind, short_help: str) -> click.Command:
    """The command that lists the components of a kind, or describes one of them."""

    @click.command(name=f"{kind}s", help=short_help)
    @click.argument("name", required=False)
    @options.json
    @options.loaded_plugins
    def command(name: str | None, as_json: bool, plugins: options.Plugins) -> None:
        if name is None:
            show_all(plugins.registry, kind, as_json)
        else:
            show_one(plugins.registry, kind, name, as_json)

    return command


methods = listing("method", "List the pruning methods, or describe one.")
models = listing("model", "List the models, or describe one.")
datasets = listing("dataset", "List the data sets, or describe one.")
objectives = listing("objective", "List what can be trained for, or describe one.")
executors = listing("executor", "List the executors, or describe one.")
runtimes = listing("runtime", "List the runtimes of delivered networks, or describe one.")


@click.command()
@options.json
@options.loaded_plugins
def plugins(as_json: bool, plugins: options.Plugins) -> None:
    """List the plugins, with their components or errors."""
    show_plugins(plugins.registry, as_json)


# --- components


def show_all(registry: Registry, kind: Kind, in_json: bool = False) -> None:
    """List the components of a kind; notes about broken plugins go to standard error."""
    described = describe_all(registry, kind)
    if in_json:
        output.show_json([as_json(description) for description in described])
    else:
        output.show(_rows(kind, described) if described else f"no {kind}s are registered")
    for (claimed, _), message in registry.conflicts.items():
        if claimed == kind:
            output.note(message)
    if any(plugin.error for plugin in registry.plugins):
        output.note("some plugins could not be loaded; `prunebench plugins` says why")


def show_one(registry: Registry, kind: Kind, name: str, in_json: bool = False) -> None:
    """Describe a component. Raises PluginError for an unknown name, with the most similar one."""
    cls, _ = registry.find(kind, name)
    description = describe(kind, cls, registry.origins[cls])
    if in_json:
        output.show_json([as_json(description)])
    else:
        output.show(_page(description))


def _rows(kind: Kind, described: list[Description]) -> Table:
    rows = output.table(kind, "summary and paper", "from", widest=1)
    for description in described:
        about = output.text("\n").join(_lines(description))
        origin = description.plugin.distribution or Path(description.plugin.file).name
        rows.add_row(output.text(_title(description), style="bold"), about, output.text(origin))
    return rows


def _lines(description: Description) -> list[Text]:
    lines = [output.text(description.summary), output.text(description.reference, style="dim")]
    return [line for line in lines if line.plain]


def _title(description: Description) -> str:
    return f"{description.name}/{description.variant.upper()}" if description.variant else description.name


def _page(description: Description) -> Group:
    plugin = description.plugin
    facts = [
        ("paper", description.reference),
        ("plugin", plugin.name),
        ("from", f"{plugin.distribution} {plugin.version}".strip()),
        ("file", plugin.file),
    ]
    parts: list[RenderableType] = [
        output.text(_title(description), style="bold"),
        output.text(unwrapped(description.text)),
        output.text(),
    ]
    parts.append(output.grid(fact for fact in facts if fact[1]))
    for title, items in (("parameters", _parameters(description)), ("presets", _presets(description))):
        if items:
            parts += [output.text(), output.text(title, style="bold"), Padding(output.grid(items), (0, 0, 0, 2))]
    return Group(*parts)


def unwrapped(text: str) -> str:
    """A docstring with each paragraph on one line, which the terminal wraps; indented paragraphs are kept."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(part if "\n " in part else part.replace("\n", " ") for part in paragraphs)


def _parameters(description: Description) -> list[tuple[str, str]]:
    return [(parameter.name, _facts(parameter)) for parameter in description.parameters]


def _facts(parameter: Parameter) -> str:
    """Allowed values and default on a line, and the text below."""
    default = "required" if parameter.required else f"default {suite_text(parameter.default)}"
    return f"{parameter.values}; {default}\n{parameter.description}".rstrip()


def _presets(description: Description) -> list[tuple[str, str]]:
    return [(name, _values(preset)) for name, preset in description.presets.items()]


def _values(preset: Preset) -> str:
    """The source on a line, and the values below."""
    values = ", ".join(f"{key}: {suite_text(value)}" for key, value in preset.values.items())
    return f"{preset.source}\n{values}".rstrip()


def suite_text(value: Any) -> str:
    """A value as it is written in a suite."""
    simple = plain(value)
    return simple if isinstance(simple, str) and simple else json.dumps(simple, ensure_ascii=False)


# --- plugins


def show_plugins(registry: Registry, in_json: bool = False) -> None:
    """List all plugins by name, broken ones with their error; then the names that two plugins register."""
    if in_json:
        output.show_json(_plugins_as_json(registry))
        return
    output.show(_plugin_rows(registry))
    for message in registry.conflicts.values():
        click.echo(f"\nconflict: {message}")


def _ordered(registry: Registry) -> list[Plugin]:
    return sorted(registry.plugins, key=lambda plugin: (plugin.name, plugin.distribution, plugin.file))


def _plugins_as_json(registry: Registry) -> dict[str, Any]:
    keys = ("name", "distribution", "version", "file", "provides", "error")
    conflicts = [{"kind": kind, "name": name, "error": message} for (kind, name), message in registry.conflicts.items()]
    return {
        "plugins": [{key: getattr(plugin, key) for key in keys} for plugin in _ordered(registry)],
        "conflicts": conflicts,
    }


def _plugin_rows(registry: Registry) -> Table:
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
