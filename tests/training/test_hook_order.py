"""The order in which the training loop calls an updater's hooks is the one that the documentation shows."""

import inspect
import re
from pathlib import Path

import pytest

import prunebench
from prunebench import Prune, Train
from prunebench.api.methods import Updater

PAGE = Path(__file__).parents[2] / "docs" / "add-a-method.md"


def figure():
    """The block of lines in the docstring of `Updater`."""
    text = inspect.cleandoc(Updater.__doc__).partition("::\n\n")[2]
    return inspect.cleandoc(text)


def calls(lines):
    """The first column of the figure's lines, without indentation."""
    return [name for line in lines for name in re.split("  +", line.strip())[0].split(", ")]


def test_the_docs_show_the_docstrings_figure():
    (shown,) = re.findall(r"```text\n(begin .*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    assert shown.strip() == figure()


class Watching(Updater):
    """Notes what happens, once when it happens several times in a row."""

    def __init__(self, events):
        self.events = events

    def note(self, name):
        if self.events[-1:] != [name] or name in HOOKS:
            self.events.append(name)

    def watch(self, training):
        model = training.model
        model.register_forward_hook(lambda *_: self.note("forward" if model.training else "evaluate"))
        first = next(iter(training.weights.values()))
        first.register_post_accumulate_grad_hook(lambda _: self.note("backward"))
        training.optimizer.register_step_post_hook(lambda *_: self.note("optimizer"))


HOOKS = ("begin", "needs_dense_gradient", "apply_masks", "restore_dense", "flops", "after_backward", "after_step")


def noting(name):
    def hook(self, training):
        if not self.events:
            self.watch(training)
        self.note(name)
        return getattr(Updater, name)(self, training)

    return hook


for hook in HOOKS:
    setattr(Watching, hook, noting(hook))


class Watched(prunebench.Method):
    """Keeps what its updaters saw."""

    name = "watched"

    def updater(self, density):
        events = []
        SEEN.append(events)
        return Watching(events)


SEEN = []


@pytest.fixture
def seen(tiny, run_stages):
    """What an updater sees in a training of three steps that is evaluated after the second and the third."""
    SEEN.clear()
    run_stages(tiny.task(steps=3, evaluate_every="2it"), Prune(by=tiny.ByChance(), density=0.5), Train(by=Watched()))
    (events,) = SEEN
    return events


def test_the_loop_calls_hooks_in_the_order_of_the_figure(seen):
    lines = figure().splitlines()
    loop = next(at for at, line in enumerate(lines) if line == "for each step:")
    due = next(at for at, line in enumerate(lines) if line == "    if an evaluation or a checkpoint is due:")
    end = next(at for at, line in enumerate(lines) if at > due and not line.startswith(" "))
    step, evaluation = calls(lines[loop + 1 : due]), calls(lines[due + 1 : end])
    assert seen == [
        *calls(lines[:loop]), *step, *step, *evaluation, *step, *evaluation, *calls(lines[end:])
    ]  # fmt: skip


def test_the_figure_names_every_hook():
    hooks = {name for name, value in vars(Updater).items() if callable(value) and not name.startswith("_")}
    assert hooks == set(HOOKS) == hooks & set(calls(figure().splitlines()))
