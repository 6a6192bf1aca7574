"""Options of executors: `--executor NAME` adds the parameters of this executor to a command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from prunebench.api.components import Component
from prunebench.api.errors import PluginError
from prunebench.cli.shared import options

if TYPE_CHECKING:
    from prunebench.suite.descriptions import Parameter

DEFAULT = "local"
_PLACE = f"{__name__}.place"


class PlacedCommand(click.Command):
    """A command that is passed the selected executor as `executor`, with parameters from its options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = peek(self, ctx, args, "executor", "files", "blocked")
        named, files, blocked = given["executor"], given["files"] or (), given["blocked"] or ()
        if named is None and set(args) & set(ctx.help_option_names):  # help alone loads no plugin
            return super().parse_args(ctx, args)
        registry = options.load_plugins(files, blocked).registry
        cls, _ = registry.find("executor", named or DEFAULT)
        own = self._own_options(cls)
        ctx.meta[_PLACE] = list(own.values())
        rest = super().parse_args(ctx, args)
        values = {name: ctx.params.pop(option.name) for name, option in own.items() if option.name}
        ctx.params["executor"] = _made(cls, own, {name: value for name, value in values.items() if value is not None})
        return rest

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        *params, last = super().get_params(ctx)  # the last one is --help
        return [*params, *ctx.meta.get(_PLACE, ()), last]

    def _own_options(self, cls: type[Component]) -> dict[str, click.Option]:
        """An option for each parameter of an executor. Raises PluginError if the command has an option of this name."""
        from prunebench.suite.descriptions import parameters  # which the run of a finished suite does without

        taken = {text for param in self.params for text in param.opts}
        found = {parameter.name: _option(cls, parameter) for parameter in parameters(cls)}
        for name, option in found.items():
            if taken & set(option.opts):
                raise PluginError(f"executor {cls.name!r}: its parameter {name!r} has the name of another option")
        return found


def peek(command: click.Command, ctx: click.Context, args: Sequence[str], *names: str) -> Mapping[str, Any]:
    """The values of some options, before the others are parsed."""
    wanted = [param for param in command.params if param.name in names]
    look = click.Command("look", params=wanted, add_help_option=False)
    with click.Context(look, ignore_unknown_options=True, allow_extra_args=True, resilient_parsing=True) as inner:
        look.parse_args(inner, list(args))
    return inner.params


def _option(cls: type[Component], parameter: Parameter) -> click.Option:
    flag = f"--{parameter.name.replace('_', '-')}"
    shown = "" if parameter.default in (None, "", False) else f"; default {parameter.default}"
    text = f"Of {cls.name}: {parameter.description or parameter.name} ({parameter.values}{shown})."
    declared = [flag, f"{cls.name}_{parameter.name}".replace("-", "_").replace(".", "_")]
    if isinstance(parameter.default, bool):
        return click.Option([f"{flag}/--no-{flag[2:]}", declared[1]], default=None, help=text)
    return click.Option(declared, required=parameter.required, help=text)


def _made(cls: Any, own: Mapping[str, click.Option], values: Mapping[str, Any]) -> Component:
    """The executor with these values, converted to the annotated types."""
    from pydantic import ValidationError

    from prunebench.suite.annotations import adapter
    from prunebench.suite.lookup import brief

    try:
        made: Component = adapter(cls).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = own.get(str(first["loc"][0])) if first["loc"] else None
        raise click.BadParameter(f"{first['msg'].lower()}, not {first['input']!r}", param=option) from None
    except (Exception, SystemExit) as error:  # of the plugin's annotations or __post_init__
        raise PluginError(f"executor {cls.name!r} cannot be used: {brief(error)}") from error
    return made
