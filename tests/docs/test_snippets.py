"""Every snippet of the README and the docs works: Python is loaded or run, YAML is read, commands are called.

The snippets of a page share a folder. A snippet that begins with `# name.py` or `# name.yaml` is a file in it, next to
links to what is in the root of the repository; commands run there. ELSEWHERE names the commands that need a network, a
server or a new environment, and says what covers them instead.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from prunebench import cli, session
from prunebench.api import plugins
from prunebench.plan.planning import make_plan
from prunebench.suite.shipped import file_of, shipped
from tests import installing, runs

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "plugins" / "example" / "README.md",
]
SHELL, CODE, SHOWN = ("sh", "bash"), ("python", "yaml"), ("", "text")
ELSEWHERE = {
    "pip": "the whole of .ci/run begins with it",
    "pytest": "it would run itself",
    "mypy": ".ci/run",
    "pre-commit": "its hooks are .ci/run's checks",
    "python3": "makes environments",
    "git": "needs a network",
    ".": "enters environments",
    "mlflow": "a server, which does not end",
    "python": "its pages are compared in test_reference_pages",
}
RUNNING = ("register", "run", "plan", "leaderboard", "export", "inspect")
"""Commands that read a suite. The suite is loaded here; only the slow test runs the command."""
SHORTENED = ("run", "export", "inspect", "register")
"""Commands that the slow test calls for one seed and one epoch."""
FEWER_RUNTIMES = "runtimes=[onnxruntime, {name: openvino, precision: int8}]"
"""The slow test measures a network in these."""
LONG = ("check", "compare", "merge", "verify")
"""Commands that their own tests run. Their arguments are parsed here."""


@dataclass(frozen=True)
class Snippet:
    page: Path
    line: int
    language: str
    text: str

    @property
    def file(self):
        """The file name in its first line, or one made of its line number."""
        named = re.match(r"# ([\w-]+\.(?:py|yaml))\n", self.text)
        return named[1] if named else f"line{self.line}.{'py' if self.language == 'python' else self.language}"

    @property
    def is_script(self):
        """Whether it is a Python script rather than a plugin."""
        return self.language == "python" and "hookimpl" not in self.text and not self.file.startswith("test_")

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def snippets_of(page):
    text = page.read_text("utf-8")
    for fence in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Snippet(page, text.count("\n", 0, fence.start()) + 2, fence[1], fence[2])


SNIPPETS = [snippet for page in PAGES for snippet in snippets_of(page)]


def called(*languages):
    some = [snippet for snippet in SNIPPETS if snippet.language in languages]
    return pytest.mark.parametrize("snippet", some, ids=str)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Make the folder of a page, and change to it."""

    def make(page):
        base = page.parent if page.parent.parent.name == "plugins" else ROOT
        for path in base.iterdir():
            if path.name == "docs":  # commands are called in there
                shutil.copytree(path, tmp_path / path.name)
            elif not path.name.startswith((".", "mlflow", "results")):
                (tmp_path / path.name).symlink_to(path)
        for snippet in snippets_of(page):
            if snippet.language in CODE:
                (tmp_path / snippet.file).write_text(snippet.text, "utf-8")
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return make


def installable(folder):
    """The modules of the packages in a page's folder, which a reader has installed at that point."""
    return [*sorted(folder.glob("prunebench_*.py")), *sorted(folder.glob("*/prunebench_*.py"))]


def test_there_are_snippets_of_each_kind_and_no_others():
    assert {snippet.language for snippet in SNIPPETS} - {*SHELL, *CODE, *SHOWN} == set()
    for language in (*SHELL, *CODE):
        assert [snippet for snippet in SNIPPETS if snippet.language == language]


@called("python")
def test_python_is_a_plugin_that_loads_or_a_script(snippet, folder):
    if snippet.is_script:  # the slow test runs it, after the commands that write its input
        compile(snippet.text, snippet.file, "exec")
        return
    path = folder(snippet.page) / snippet.file
    if path.name.startswith("test_"):
        done = installing.pytest(path, path.parent, "--collect-only")
        assert done.returncode == 0, done.stdout
        return
    options = plugins.load((str(path.resolve()),))
    [plugin] = [plugin for plugin in options.plugins if plugin.file == str(path.resolve())]
    assert plugin.error == ""
    assert plugin.provides


@called("yaml")
def test_yaml_is_a_suite_that_can_be_planned(snippet, folder):
    where = folder(snippet.page)
    if any(f": {file}" in snippet.text for file in made_by_commands(snippet.page)):
        pytest.skip("it names a file that earlier commands write; the slow test runs it")
    files = [one.file for one in snippets_of(snippet.page) if one.language == "python" and not one.is_script]
    plugins = [where / file for file in files if not file.startswith("test_")]
    loaded = session.load_suite(where / snippet.file, plugin_files=plugins)
    plan = make_plan(loaded.trials, {})
    assert plan.trials
    assert [planned.skipped for planned in plan.trials if planned.skipped] == []


def made_by_commands(page):
    """The files that the `export` commands of a page write, and the folders that its scripts do."""
    snippets = [one for one in snippets_of(page) if one.language in SHELL]
    commands = [words for one in snippets for _, _, words in commands_of(one)]
    exported = [words[words.index("--output") + 1] for words in commands if words[1:2] == ["export"]]
    scripts = [one.text for one in snippets_of(page) if one.is_script]
    return [*exported, *(name for text in scripts for name in re.findall(r'save_pretrained\("([^"]+)"\)', text))]


def commands_of(snippet):
    """Folder, environment variables and words of each command."""
    where, clone = ".", ""
    for line in snippet.text.replace("\\\n", " ").splitlines():
        for part in re.split(r"\s&&\s", line):
            words = shlex.split(part, comments=True)
            variables = {}
            while words and re.match(r"[A-Z_]+=", words[0]):
                name, _, variables[name] = words.pop(0).partition("=")
            if words[:1] == ["cd"]:
                where = "." if words[1] == clone else words[1]
            elif words:
                clone = words[-1] if words[:2] == ["git", "clone"] else clone
                yield where, variables, words


MADE = [file for page in PAGES for file in made_by_commands(page)]
"""Files that exist only after the commands of a page have run."""


@called(*SHELL)
def test_every_command_is_right(snippet, folder, monkeypatch):
    top = folder(snippet.page)
    # Files that earlier snippets of the page write, such as a package.
    earlier = [one for one in snippets_of(snippet.page) if one.language in SHELL and one.line < snippet.line]
    for one in [*earlier, snippet]:
        for where, variables, words in commands_of(one):
            if one is snippet or words[:2] == ["prunebench", "new"]:
                monkeypatch.chdir(top / where if (top / where).is_dir() else top)
                for name, value in variables.items():
                    monkeypatch.setenv(name, value)
                check_command(words, top)


def check_command(words, top):
    program, *arguments = words
    if program != "prunebench":
        assert program in ELSEWHERE
        if words[:2] == ["pip", "install"]:
            check_installation(words[2:])
        return
    name, *rest = arguments
    assert name in cli.COMMANDS
    if name in (*RUNNING, *LONG):
        module, _, attribute = cli.COMMANDS[name][0].partition(":")
        command = getattr(import_module(module), attribute)
        group = click.Context(cli.main, info_name=program, **cli.main.context_settings)
        given = command.make_context(name, list(rest), parent=group).params
        if name in RUNNING and (str(given["suite"]).endswith(".yaml") or str(given["suite"]) in shipped()):
            if any(made in file_of(given["suite"]).read_text("utf-8") for made in MADE):
                return  # earlier commands write it; the slow test runs them
            files = [*given["files"], *installable(top)]
            loaded = session.load_suite(
                given["suite"], settings=given["settings"], only=given.get("only", ()), plugin_files=files
            )
            names = {str(trial) for trial in loaded.trials}
            assert names
            assert {given[key] for key in ("trial", "other") if given.get(key)} <= names
        return
    plugins.load.cache_clear()
    words, file = redirected(rest)
    result = CliRunner().invoke(cli.main, [name, *words])
    assert result.exit_code == 0, result.output
    if file:
        Path(file).write_text(result.stdout, "utf-8")


def redirected(words):
    """The words of a command before `> FILE`, and the file."""
    return (words[:-2], words[-1]) if words[-2:-1] == [">"] else (words, "")


def check_installation(arguments):
    """The installed path is a folder with metadata, which has the extras."""
    for target in (argument for argument in arguments if not argument.startswith("-")):
        path, _, extras = target.partition("[")
        about = (Path(path) / "pyproject.toml").read_text("utf-8")
        assert all(f"\n{extra} = [" in about for extra in extras.strip("]").split(",") if extra)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_inline_commands_exist(page):
    for words in re.findall(r"`prunebench ([^`]*)`", page.read_text("utf-8")):
        name, *rest = words.split()
        assert name in cli.COMMANDS or name.startswith("-")
        options = {option for option in rest if option.startswith("--")}
        if name in cli.COMMANDS:
            module, _, attribute = cli.COMMANDS[name][0].partition(":")
            known = {text for one in getattr(import_module(module), attribute).params for text in one.opts}
            assert options <= known


@pytest.mark.parametrize("page", [*PAGES, *sorted((ROOT / "docs").glob("*/*.md"))], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", page.read_text("utf-8")):
        if not target.startswith("http"):
            path = page.parent / target if target else page
            assert path.exists(), target
            assert not anchor or anchor in headings_of(path), f"{target}#{anchor}"


def headings_of(page):
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def shortened(words, at):
    """A command that runs a suite, shortened to one seed, one epoch and, unless it has or sets one, one sparsity."""
    own = at / words[2] if len(words) > 2 else at
    text = own.read_text("utf-8") if own.is_file() else ""
    if len(words) > 2 and words[2] in shipped():
        text = file_of(Path(words[2])).read_text("utf-8")
    single = re.search(r"^sparsities: \[[^,\]]*\]$", text, re.MULTILINE)
    less = [] if single or "sparsit" in shlex.join(words) or words[1] != "run" else ["sparsities=[0.8]"]
    length = "tasks.recipe.steps=20" if re.search(r"\bsteps: ", text) else "tasks.recipe.epochs=1"
    measured = [FEWER_RUNTIMES] if "\nruntimes:" in text else []
    settings = ["seeds=1", length, *less, *measured] if words[1] in SHORTENED else []
    return [*words[1:], *(part for one in settings for part in ("--set", one))]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_run_one_after_the_other(page, folder):
    top = folder(page)
    for snippet in snippets_of(page):
        if snippet.is_script:
            done = subprocess.run([sys.executable, snippet.file], cwd=top, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{snippet}: {done.stderr}"
        for where, variables, words in commands_of(snippet) if snippet.language in SHELL else ():
            if words[0] == "prunebench":
                plugins = os.pathsep.join(map(str, installable(top)))
                at = top / where if (top / where).is_dir() else top
                words, file = redirected(words)
                done = runs.prunebench(*shortened(words, at), cwd=at, **variables, PRUNEBENCH_PLUGINS=plugins)
                assert done.returncode == 0, f"{shlex.join(words)}: {done.stderr}"
                if file:
                    (at / file).write_text(done.stdout, "utf-8")


def test_the_checks_above_see_what_they_look_for():
    snippet = Snippet(
        ROOT / "README.md", 1, "sh", "A=1 prunebench run x.yaml  # so\ncd docs && pip install \\\n  -e .\n"
    )
    assert list(commands_of(snippet)) == [
        (".", {"A": "1"}, ["prunebench", "run", "x.yaml"]),
        ("docs", {}, ["pip", "install", "-e", "."]),
    ]
    with pytest.raises(click.NoSuchOption):
        check_command(["prunebench", "run", "x.yaml", "--worker", "2"], ROOT)
    with pytest.raises(AssertionError):
        check_command(["prunebench", "runn", "x.yaml"], ROOT)
