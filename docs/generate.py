"""Write the pages of docs/reference from the docstrings and annotations of the code: `python docs/generate.py`.

The tests fail when a page differs from what this script would write.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
from click.testing import CliRunner

import prunebench
from prunebench import cli, testing
from prunebench.api import components, executors, hooks, layers, runtimes, stages, times
from prunebench.api import tasks as values
from prunebench.suite import input_models
from prunebench.suite.descriptions import Parameter, parameters, plain

FOLDER = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/generate.py; do not edit. -->"


# --- hooks and the public classes


def hooks_page() -> str:
    """Every hook and every public name, with their docstrings."""
    parts = [
        "# Hooks and classes",
        NOTE,
        "A plugin implements hooks and marks each of them with `@prunebench.hookimpl`. A hook returns a list of "
        "classes and has no side effects. All names below except `Component`, `Layer` and the hooks are attributes of "
        "the module `prunebench`.",
        "## Hooks",
    ]
    for name, hook in sorted(vars(hooks).items()):
        if name.startswith("register_"):
            returns = inspect.signature(hook).return_annotation
            parts += [f"### `{name}() -> {returns}`", marked(inspect.getdoc(hook) or "")]
    for title, names in CHAPTERS.items():
        parts.append(f"## {title}")
        parts += [described(name) for name in names]
    return joined(parts)


CHAPTERS: Mapping[str, tuple[str, ...]] = {
    "Classes that a plugin registers": (
        "Method",
        "LayerwiseMethod",
        "StructuredMethod",
        "Model",
        "Dataset",
        "Objective",
        "Metric",
        "Classification",
        "Executor",
        "Runtime",
        "Component",
        "Preset",
        "DataFacts",
        "Input",
        "Interface",
        "Arrays",
        "Files",
    ),
    "Passed to a method": ("Trial", "Scoring", "CalibratedLayer", "Group", "Part", "Training", "Network", "Layer"),
    "Returned by a method": ("Updater", "Deployed", "Flops"),
    "Parameters added later": ("added_later",),
    "Executors": (
        "RunContext",
        "Resources",
        "JobSpec",
        "WorkerPool",
        "JobResult",
        "ExitCode",
        "run_job",
    ),
    "Runtimes": ("Delivery", "Program", "Unsupported", "load_program"),
    "Tickets and files": ("load_ticket", "Ticket", "File", "Weights", "read_weights", "load_network"),
    "Python API": ("load_suite", "run_suite", "RunOptions", "load_leaderboard"),
    "Stages": (
        "Stage",
        "Initialize",
        "Train",
        "Prune",
        "PruneLayerwise",
        "Reconstruct",
        "Cut",
        "Shuffle",
        "Rewind",
        "Reinitialize",
        "Deploy",
        "Allocation",
        "Distillation",
        "Outliers",
        "Structure",
        "TimedPass",
        "Unit",
        "CutAllocation",
        "GroupKind",
        "Time",
    ),
}
"""The public names in the order of the page, and two classes that plugins use without importing them."""

_UNNAMED = {
    "Component": components.Component,
    "Layer": layers.Layer,
}
_ALIASES = {
    "Allocation": stages,
    "CutAllocation": stages,
    "GroupKind": stages,
    "Flops": layers,
    "Time": times,
    "Unit": stages,
}
"""Type aliases, and the modules that define them."""


def _alias(name: str) -> str:
    """The definition of a type alias, `Name = ...` or `Name: TypeAlias = ...`, as it is in the source."""
    [found] = re.findall(rf"^{name}(?:: TypeAlias)? = (.+)$", inspect.getsource(_ALIASES[name]), re.MULTILINE)
    return str(found).strip('"')


def described(name: str) -> str:
    """The section of a public name: its docstring, and for a class its attributes and methods."""
    if name in _ALIASES:
        module = _ALIASES[name]
        [text] = [text for one, _, text in attributes(ast.parse(inspect.getsource(module))) if one == name]
        return joined([f"### `{name}`", marked(text), f"`{_alias(name)}`"])
    cls = _UNNAMED.get(name) or getattr(prunebench, name)
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    if isinstance(tree, ast.FunctionDef):
        return joined([f"### `{_signature(tree)}`", marked(ast.get_docstring(tree) or "")])
    assert isinstance(tree, ast.ClassDef)
    base = next((ast.unparse(one) for one in tree.bases), "")
    text, arguments = without_arguments(ast.get_docstring(tree) or "")
    parts = [f"### `{name}({base})`" if base else f"### `{name}`", marked(text)]
    parts.append("\n".join(_field(one, kind, note or arguments.get(one, "")) for one, kind, note in _fields(tree)))
    parts += [f"#### `{_signature(one)}`\n\n{marked(ast.get_docstring(one) or '')}" for one in _methods(tree)]
    return joined(parts)


def _field(name: str, kind: str, text: str) -> str:
    return f"- `{name}{': ' + kind if kind else ''}`{' · ' + flat(text) if text else ''}"


def _fields(tree: ast.ClassDef) -> Iterator[tuple[str, str, str]]:
    """Name, type and text of a class's public attributes, including properties and those that methods assign."""
    yield from (found for found in attributes(tree) if found[1])
    for one in tree.body:
        if isinstance(one, ast.FunctionDef) and _is_property(one) and not one.name.startswith("_"):
            yield one.name, ast.unparse(one.returns) if one.returns else "", ast.get_docstring(one) or ""
        elif isinstance(one, ast.FunctionDef):
            yield from (found for found in attributes(one) if found[2] or one.name == "__init__")


def attributes(tree: ast.Module | ast.ClassDef | ast.FunctionDef) -> Iterator[tuple[str, str, str]]:
    """Name, type and text of the assignments in a body; the text is the string below an assignment."""
    for place, one in enumerate(tree.body):
        target = (
            one.target if isinstance(one, ast.AnnAssign) else one.targets[0] if isinstance(one, ast.Assign) else None
        )
        if target is None:
            continue
        name, own = ast.unparse(target), isinstance(tree, ast.FunctionDef)
        if re.fullmatch(r"self\.[A-Za-z]\w*" if own else r"[A-Za-z]\w*", name):
            yield name.removeprefix("self."), "" if own else _type(one), _text(tree.body[place + 1 : place + 2])


def _type(one: ast.stmt) -> str:
    """The annotation with the default value, or the number of a member of an enumeration; otherwise empty."""
    if isinstance(one, ast.Assign) and isinstance(one.value, ast.Constant) and isinstance(one.value.value, int):
        return ast.unparse(one.value)
    if not isinstance(one, ast.AnnAssign):
        return ""
    default = f" = {ast.unparse(one.value)}" if one.value is not None else ""
    return f"{ast.unparse(one.annotation)}{default}"


def _text(after: list[ast.stmt]) -> str:
    for one in after:
        if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) and isinstance(one.value.value, str):
            return inspect.cleandoc(one.value.value)
    return ""


def _is_property(one: ast.FunctionDef) -> bool:
    return any(ast.unparse(marker) in ("property", "cached_property") for marker in one.decorator_list)


def _methods(tree: ast.ClassDef) -> list[ast.FunctionDef]:
    found = [one for one in tree.body if isinstance(one, ast.FunctionDef) and not _is_property(one)]
    return [one for one in found if not one.name.startswith("_")]


def _signature(one: ast.FunctionDef) -> str:
    arguments = ast.unparse(one.args).removeprefix("self").removeprefix(", ")
    return f"{one.name}({arguments})" + (f" -> {ast.unparse(one.returns)}" if one.returns else "")


_ARGUMENTS = re.compile(r"\n\nArgs:\n((?:    .*\n?)+)")


def without_arguments(docstring: str) -> tuple[str, dict[str, str]]:
    """A docstring without its `Args` section, and the texts of that section by argument name."""
    found = _ARGUMENTS.search(docstring)
    if found is None:
        return docstring, {}
    lines = re.sub(r"\n\s+", " ", textwrap.dedent(found[1]).strip()).splitlines()
    pairs = (line.partition(": ") for line in lines)
    return docstring.replace(found[0], "\n"), {name: text for name, _, text in pairs}


_SECTIONS = re.compile(r"^(Args|Returns|Raises):$", re.MULTILINE)


def marked(docstring: str) -> str:
    """A docstring as Markdown, with its sections as lists."""
    head, *sections = _SECTIONS.split(docstring)
    parts = [head.strip()]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        lines, _, rest = body.strip("\n").partition("\n\n")
        items = re.sub(r"\n\s+", " ", textwrap.dedent(lines)) if title != "Returns" else flat(lines)
        listed = [re.sub(r"^(\w+): ", r"`\1`: ", item) for item in items.splitlines()]
        parts += [f"{title}:", "\n".join(f"- {item}" for item in listed), textwrap.dedent(rest).strip()]
    return joined(parts).strip()


# --- commands


def commands_page() -> str:
    """The `--help` text of each command."""
    parts = ["# Commands", NOTE, "The output of `--help` of each command.", _help()]
    for name in cli.COMMANDS:
        parts += [f"## `prunebench {name}`", _help(name)]
        command = cli.main.get_command(click.Context(cli.main), name)
        for inner in command.commands if isinstance(command, click.Group) else ():
            parts += [f"### `prunebench {name} {inner}`", _help(name, inner)]
    return joined(parts)


def _help(*names: str) -> str:
    result = CliRunner().invoke(
        cli.main, [*names, "--help"], prog_name="prunebench", terminal_width=100, catch_exceptions=False
    )
    return f"```text\n{result.output.rstrip()}\n```"


# --- the conformance kit


def checks_page() -> str:
    """The checks of the conformance tests, and the functions that run them."""
    rows = [f"| `{name}` | {text} |" for name, text in testing.CHECKS.items()]
    parts = [
        "# The contract of a method",
        NOTE,
        "`prunebench check NAME` and `prunebench check FILE` run these checks of a method on small networks: "
        + ", ".join(f"`{one.name}`" for one in testing.NETWORKS)
        + ". A plugin's own tests can run the same checks with `prunebench.testing`.",
        "\n".join(["| check | |", "|---|---|", *rows]),
    ]
    for function in (testing.checks, testing.conformance):
        text, arguments = without_arguments(inspect.getdoc(function) or "")
        listed = "\n".join(f"- `{name}`: {note}" for name, note in arguments.items())
        parts += [f"## `{function.__name__}`", marked(text), listed]
    return joined(parts)


# --- suites


def suite_page() -> str:
    """Every key of a suite, with its type, range, default and description."""
    parts = [
        "# The keys of a suite",
        NOTE,
        "A suite is a YAML file with the keys of the first table. `prunebench schema` prints the same as a JSON schema "
        "for editors; `prunebench schema --full` includes every method, model and data set with its parameters.",
    ]
    for title, cls in SUITE.items():
        parts += [f"## {title}", marked(inspect.getdoc(cls) or ""), table(parameters(cls))]
    listed = "The stages of a pipeline. Each is written as `- name` or as `- name: {key: value}`."
    parts += ["## Stages", listed, _densities()]
    for name, stage in input_models.stage_classes().items():
        text, arguments = without_arguments(inspect.getdoc(stage) or "")
        rows = parameters(input_models.stage_input(name))
        parts += [f"### {name}", marked(text), table(rows, arguments)]
    for cls in (stages.Structure, stages.Outliers, stages.Distillation):
        parts += [f"### {cls.__name__}", marked(inspect.getdoc(cls) or ""), table(parameters(cls))]
    return joined([*parts, "## Times", marked(inspect.getdoc(times) or "")])


SUITE: Mapping[str, type[Any]] = {
    "Suite": input_models.SuiteInput,
    "Reductions": input_models.ReductionsInput,
    "Task": input_models.TaskInput,
    "Dataset, model and objective": input_models.ComponentInput,
    "Method": input_models.MethodInput,
    "Pipeline": input_models.PipelineInput,
    "Tune": input_models.TuneInput,
    "Ticket of": input_models.TicketInput,
    "Runtime": input_models.RuntimeInput,
    "Latency": runtimes.Latency,
    "Recipe": values.Recipe,
    "Optimizer": values.Optimizer,
    "Schedule": values.Schedule,
    "Weights": values.Weights,
    "Prunable": values.Prunable,
    "Resources": executors.Resources,
}

LINKS = {
    "tasks": "[[task](#task), ...]",
    "methods": "[name, [method](#method) or [pipeline](#pipeline), ...]",
    "dataset": "name or [mapping](#dataset-model-and-objective)",
    "model": "name or [mapping](#dataset-model-and-objective)",
    "objective": "name or [mapping](#dataset-model-and-objective)",
    "recipe": "[recipe](#recipe)",
    "prunable": "[prunable](#prunable)",
    "weights": "path or [weights](#weights)",
    "distillation": "[distillation](#distillation)",
    "tune": "[tune](#tune)",
    "ticket_of": "[ticket of](#ticket-of)",
    "resources": "[resources](#resources)",
    "runtime": "name or [mapping](#runtime)",
    "runtimes": "[name or [runtime](#runtime), ...]",
    "reductions": "[reductions](#reductions)",
    "latency": "[latency](#latency)",
    "optimizer": "[optimizer](#optimizer)",
    "schedule": "[schedule](#schedule)",
    "stages": "[[stage](#stages), ...]",
    "by": "name or [method](#method)",
    "structure": "[structure](#structure) or null",
    "allocation": "uniform, er, erk or [outliers](#outliers)",
}
"""The types of keys whose values are names of components, or have a section of their own."""


def _densities() -> str:
    return f"A density of `{input_models.TARGET}` is the density of the trial, 1 - sparsity."


def table(rows: tuple[Parameter, ...], texts: Mapping[str, str] = MappingProxyType({})) -> str:
    """The parameters of a class as a table.

    Args:
        texts: descriptions of parameters whose annotations have none.
    """
    lines = ["| key | value | default | |", "|---|---|---|---|"]
    for row in rows:
        own = row.schema.get("type") == "boolean" or "enum" in row.schema
        kind = row.values if own else LINKS.get(row.name, row.values)
        cells = (f"`{row.name}`", kind, _default(row), row.description or texts.get(row.name, ""))
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) if rows else ""


def _default(row: Parameter) -> str:
    if row.required:
        return "required"
    if isinstance(row.default, values.Schedule):
        return f"`{row.default.name}`"
    if row.default == executors.Resources():
        return ""
    text = str(plain(row.default))
    if isinstance(row.default, bool):
        text = text.lower()
    return f"`{text}`" if row.default not in (None, "") else ""


# --- all pages


def flat(text: str) -> str:
    return " ".join(text.split())


def joined(parts: list[str]) -> str:
    return "\n\n".join(part for part in parts if part)


PAGES: Mapping[str, Callable[[], str]] = {
    "hooks.md": hooks_page,
    "commands.md": commands_page,
    "suite.md": suite_page,
    "checks.md": checks_page,
}


def main() -> int:
    """Write the pages that have changed."""
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        path, text = FOLDER / name, page() + "\n"
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
