"""Compare claims of papers with the published boards, and write a page for each experiment and the index.

    python reproductions/make.py [--boards leaderboard] [--output reproductions]

Every number is computed from the trials of the boards. A page is left out as long as one of its boards does not exist.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import channels
import dropout
import experiments
import longer_training
import lottery
import one_shot
import orderings
import rewinding
import scaling
import unsourced
from answers import RULE, Boards, Page, counted, table, wrapped

FOLDER = Path(__file__).parent
BOARDS = FOLDER.parent / "leaderboard"


@dataclass(frozen=True)
class Reproduction:
    """An experiment that is compared with boards."""

    name: str
    """Of its page."""
    title: str
    claim: str
    """The claim in one line."""
    boards: tuple[str, ...]
    command: str
    """What makes the board, or the first of them, by `prunebench run`; empty for pages on many boards."""
    page: Callable[[Boards], Page]


def _one_shot(board: str, what: str, options: str = "", everything: bool = True) -> Reproduction:
    claim = "calibration beats magnitude, reconstruction beats selection, and newer methods the older ones"
    page = partial(one_shot.page, board=board, everything=everything)
    return Reproduction(board, f"Pruning after training: {what}", claim, (board,), board + options, page)


def _experiment(board: str, title: str, claim: str) -> Reproduction:
    return Reproduction(board, title, claim, (board,), board, partial(experiments.page, board=board))


REPRODUCTIONS = (
    Reproduction(
        "lottery",
        "The lottery ticket hypothesis",
        "sparse networks with their original weights learn faster and better than the dense network",
        (lottery.BOARD, dropout.BOARD),
        "mnist-lenet --profile quick",
        lottery.page,
    ),
    Reproduction(
        "orderings",
        "Orderings of methods",
        "tickets beat their controls, moving connections static ones, scores at initialization random masks",
        ("methods",),
        "methods",
        orderings.page,
    ),
    Reproduction(
        "rewinding",
        "Rewinding",
        "rewinding to the first percents beats rewinding to the start, and any rewinding beats fine-tuning",
        (rewinding.BOARD,),
        "rewinding",
        rewinding.page,
    ),
    Reproduction(
        "longer-training",
        "Longer sparse training",
        "RigL beats SET and static masks at equal cost, and comes up to dense if it is trained for longer",
        (longer_training.BOARD,),
        "longer-training",
        longer_training.page,
    ),
    _experiment("layer-collapse", "Layer collapse", "SynFlow trains at sparsities where other scores remove a layer"),
    _experiment(
        "at-initialization",
        "Pruning at initialization",
        "it chooses how many weights each layer keeps, and not which; tickets choose weights",
    ),
    _experiment("rigl-ablations", "Ablations of RigL", "ERK, new weights of zero and a share that decays are best"),
    _experiment(
        "transfer", "Transfer of tickets", "tickets are good for other data and optimizers than they were found with"
    ),
    _experiment("early-pruning", "Early pruning", "the mask of the end of training is there after its first epochs"),
    Reproduction(
        "scaling",
        "Scaling",
        "one law describes the error of pruned networks of any width and depth",
        (scaling.BOARD,),
        "scaling",
        scaling.page,
    ),
    _one_shot("one-shot", "small networks on MNIST"),
    _one_shot("text-gpt-one-shot", "a small GPT"),
    _one_shot("text-minilm-one-shot", "a pretrained encoder"),
    _one_shot("text-minilm", "a fine-tuned encoder", " --set seeds=3", everything=False),
    Reproduction(
        "channels",
        "Do criteria beat random channels?",
        "where most of a network is removed, random channels are as good as most criteria",
        ("structured",),
        "structured",
        channels.page,
    ),
    Reproduction(
        "unsourced-claims",
        "Claims without a source",
        "LeNet at 99 %, ResNet-20 at 50, 80 and 95 %, a cost of 1500 % against 120 %, 2:4 against unstructured",
        unsourced.BOARDS,
        "",
        unsourced.page,
    ),
)
ABOUT = """\
What papers on pruning claim, compared with the [published boards]({boards}). Each page has the claims of an experiment
with their source, the numbers of the board, a verdict, and what differs from the paper. The networks and data sets are
those that two cores can train: a claim that is not seen here is not refuted for the networks of its paper."""
HOW = """\
`python reproductions/make.py` writes these pages and this one from the trials of the boards, in `trials.jsonl`, and
changes nothing if the boards have not changed. A page is left out as long as one of its boards is not published.
`--boards results --output FOLDER` does the same with boards of your own runs. `python reproductions/movement.py --store
.prunebench` measures how far weights moved, from the states of the run of `mnist-lenet`, and `connectivity.py` how far
apart two trainings of a ticket end, from those of `rewinding`."""


def pages(boards: Boards) -> Iterator[tuple[Reproduction, Page]]:
    """The pages whose boards exist."""
    for one in REPRODUCTIONS:
        if all(map(boards.has, one.boards)):
            yield one, one.page(boards)


def written(boards: Boards) -> dict[str, str]:
    """The text of every page, by the name of its file."""
    made = list(pages(boards))
    return {f"{one.name}.md": text(one, page) for one, page in made} | {"README.md": index(made, boards)}


def text(one: Reproduction, page: Page) -> str:
    lines = [f"# {one.title}", "", *wrapped(page.introduction), "", *wrapped(RULE)]
    for heading, answers in page.answers.items():
        lines += ["", *([f"## {heading}", ""] if heading else []), *table(answers)]
    details = ["", *page.details] if page.details else []
    return "\n".join([*lines, *details, ""])


def index(made: list[tuple[Reproduction, Page]], boards: Boards) -> str:
    lines = [
        "# Reproductions",
        "",
        *wrapped(ABOUT.format(boards=boards.address("README.md"))),
        "",
        *wrapped(RULE),
        "",
        "| experiment | claim | source | verdicts | boards | command |",
        "|:--|:--|:--|:--|:--|:--|",
        *(_line(one, page, boards) for one, page in made),
        "",
        *wrapped(HOW),
        "",
    ]
    return "\n".join(lines)


def _line(one: Reproduction, page: Page, boards: Boards) -> str:
    answers = [answer for some in page.answers.values() for answer in some]
    sources = dict.fromkeys(answer.source.link for answer in answers if answer.source)
    names = ", ".join(f"[{name}]({boards.address(f'{name}/README.md')})" for name in one.boards)
    cells = (
        f"[{one.title}]({one.name}.md)",
        one.claim,
        ", ".join([*sources][:4]) + (f" and {len(sources) - 4} more" if len(sources) > 4 else ""),
        counted(answers),
        names,
        f"`prunebench run {one.command}`" if one.command else f"[of each board]({boards.address('README.md')})",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", type=Path, default=BOARDS, help="the folder of the published boards")
    parser.add_argument("--output", type=Path, default=FOLDER, help="the folder that the pages are written to")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for name, page in written(Boards(options.boards, options.output)).items():
        (options.output / name).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
