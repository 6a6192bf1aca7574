"""Claims that were named without a source, compared with all boards that have something to say on them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from answers import (
    NOT_RUN,
    NOT_SEEN,
    SEEN,
    UNDECIDED,
    Answer,
    Boards,
    Claim,
    Page,
    Part,
    Row,
    figures,
    ladder,
    mean,
    of_task,
    percent,
    single,
    wrapped,
)
from papers import ASP, SPARSEGPT, WANDA

BOARDS = ("cifar10", "deploy", "digits", "methods", "mnist-lenet", "one-shot", "structured", "text-minilm")
LENETS = ("mnist-lenet", "methods")
TICKETS = ("digits", *LENETS)
FROM_THE_START = ("snip", "grasp", "synflow", "static", "set", "rigl", "random")
"""Methods that train a network of the final sparsity from the first step on."""
ITERATIVE, CHEAP, ABOUT = 15.0, 1.2, 0.05
"""The two costs of the claim in dense trainings, and how close to the second counts."""
LEVEL = 0.8
"""The share of weights that a level of iterative pruning keeps."""
RESNET20 = (0.5, 0.8, 0.95)
IMAGES, DENSE_ACCURACY = 10_000, 0.917
"""Test images of CIFAR-10, and the accuracy of a dense ResNet-20 (Frankle et al. 2021)."""
INTRODUCTION = f"""\
Claims that were named when this project began, without a source or an experiment: LeNet at 99 %, ResNet-20 at 50, 80
and 95 %, a training cost of {100 * ITERATIVE:.0f} % against {100 * CHEAP:.0f} %, and 2:4 against unstructured masks.
Where the wording leaves open what is meant, each meaning has a row. Intervals are of differences of means (Welch's t);
those of masks of the same trained network are paired by seed (Student's t). Counts, such as costs, have no interval."""

Where = tuple[str, Row]
"""A row of a board."""


def rows(boards: Boards, names: Iterable[str], metric: str) -> dict[Where, float]:
    """The mean of every row of some boards."""
    return {(name, row): mean(some) for name in names for row, some in figures(boards.results(name), metric).items()}


def named(where: Where) -> str:
    board, (method, sparsity) = where
    return f"`{method}` at {percent(sparsity)} on {board}"


def highest(found: Mapping[Where, float]) -> tuple[Where, float]:
    return max(found.items(), key=lambda one: one[1])


def whole(share: float) -> str:
    return f"{100 * share:.0f} %"


def lenet(boards: Boards) -> Iterator[Answer]:
    parts: list[Part] = []
    for board in LENETS:
        results = boards.results(board)
        sparsity = min(ladder(figures(results, "accuracy")), key=lambda one: abs(one - 0.99))
        [part] = Claim("", None, "imp", "dense", (sparsity,), -1.0).answer(results).parts
        parts.append(Part(f"{part.where} ({board})", part.number, part.verdict))
    claim = "A ticket of LeNet-300-100 at 99 % sparsity is as accurate as the dense network, to one point"
    differs = "10,000 and 6,000 iterations instead of 50,000"
    yield Answer(claim, None, "`imp` against `dense`, points", tuple(parts), differs)
    means = rows(boards, LENETS, "accuracy")
    where, best = highest(means)
    above = sum(value >= 0.99 for value in means.values())
    yield single(
        "LeNet-300-100 on MNIST has an accuracy of 99 %",
        None,
        f"{above} of {len(means)} rows; the best mean is {100 * best:.2f} % ({named(where)})",
        SEEN if above else NOT_SEEN,
        "99 % is usual for LeNet-5, which is convolutional",
    )


def resnet20(boards: Boards) -> Iterator[Answer]:
    claim = "ResNet-20 at {} % sparsity is as accurate as the dense network, to one point"
    needs = "needs a GPU: `prunebench run cifar10-paper`, 160 epochs"
    yield single(claim.format("50, 80 and 95"), None, "", NOT_RUN, needs)
    for board, method, differs in (
        ("structured", "magnitude", "8×8 digits instead of CIFAR-10; the sparsities of the board"),
        ("cifar10", "magnitude-finetune", "3 epochs instead of 160; the sparsities of the board"),
    ):
        results = boards.results(board)
        rungs = tuple(ladder(figures(results, "accuracy"), method))
        text = claim.format(", ".join(f"{100 * one:.4g}" for one in rungs))
        yield Claim(text, None, method, "dense", rungs, -1.0, differs=differs).answer(results)


def cost(boards: Boards) -> Iterator[Answer]:
    claim = f"A lottery ticket costs {whole(ITERATIVE)} of a dense training"
    steps = figures(boards.results("mnist-lenet"), "steps")
    counted = {one: mean(steps["imp", one]) / mean(steps["dense", 0.0]) for one in ladder(steps)}
    around = [one for one in counted if abs(counted[one] - ITERATIVE) <= 2] or [max(counted)]
    yield single(
        f"{claim}, if trainings are counted",
        None,
        "; ".join(f"{counted[one]:.0f} trainings at {percent(one)}" for one in around),
        SEEN if max(counted.values()) >= ITERATIVE else NOT_SEEN,
        "this is what it costs where zeros save nothing",
    )
    costs = rows(boards, TICKETS, "training_cost")
    where, most = highest({where: value for where, value in costs.items() if where[1][0] == "imp"})
    yield single(
        f"{claim}, if operations with kept weights are counted",
        None,
        f"at most {whole(most)}: {named(where)}",
        SEEN if most >= ITERATIVE else NOT_SEEN,
        "this is what boards count; see below for its limit",
    )
    near = [where for where, value in costs.items() if abs(value - CHEAP) < ABOUT and where[1][0] != "imp"]
    nearest = sorted(near, key=lambda where: abs(costs[where] - CHEAP))[:4]
    yield single(
        f"There are methods that cost {whole(CHEAP)}",
        None,
        "; ".join(f"{whole(costs[where])}: {named(where)}" for where in nearest),
        SEEN if near else NOT_SEEN,
        "a dense training, and a shorter or sparser one after it",
    )
    where, most = highest({where: value for where, value in costs.items() if where[1][0] in FROM_THE_START})
    yield single(
        "Methods that are sparse from the first step on cost that much",
        None,
        f"at most {whole(most)}: {named(where)}",
        SEEN if most >= CHEAP - ABOUT else NOT_SEEN,
        "scoring is counted",
    )


def two_of_four(boards: Boards) -> Iterator[Answer]:
    claim = "At 50 %, unstructured masks are more accurate than 2:4"
    for board in ("one-shot", "text-minilm"):
        results = boards.results(board)
        for task in dict.fromkeys(result.task for result in results):
            for name, source in (("magnitude", None), ("wanda", WANDA), ("sparsegpt", SPARSEGPT)):
                free = "magnitude-layerwise" if name == "magnitude" else name
                differs = f"{task}, not trained after the pruning"
                asked = Claim(claim, source, free, f"{name}-2-of-4", (0.5,), differs=differs)
                yield asked.answer(of_task(results, task), paired=True)
    claim = "Trained after it is pruned to 2:4, a network is as accurate as the dense one, to one point"
    differs = "LeNet-300-100 on MNIST, trained once more in full"
    yield Claim(claim, ASP, "nm", "dense", (0.5,), -1.0, differs=differs).answer(boards.results("methods"))
    needs = "needs an NVIDIA GPU of Ampere or later, which has such kernels"
    yield single("Kernels for 2:4 make a network faster", None, "", NOT_RUN, needs)
    for method, sparsity in (("magnitude-2-of-4", 0.5), ("magnitude-finetune", 0.9)):
        yield _speed(boards, method, sparsity)


def _speed(boards: Boards, method: str, sparsity: float) -> Answer:
    """How many times as fast as the dense network each seed's network is, in ordinary runtimes on a CPU."""
    results = boards.results("deploy")
    parts = []
    for task in dict.fromkeys(result.task for result in results):
        for runtime in ("onnxruntime", "openvino"):
            own, dense = (
                figures(of_task(results, task), f"runtime/{runtime}/{figure}/1")[method, sparsity]
                for figure in ("latency_ms", "latency_ms_dense")
            )
            text = ", ".join(f"{dense[seed] / own[seed]:.2f}" for seed in own)
            parts.append(Part(f"{task} in {runtime}", text, UNDECIDED))
    claim = f"Zeros of `{method}` at {percent(sparsity)} make a network faster in ordinary runtimes on a CPU"
    differs = "two seeds; no kernel of these runtimes skips zeros"
    return Answer(claim, None, "times as fast as the dense network, one example", tuple(parts), differs)


LIMITS = """\
- **Cost.** {iterative} are {trainings} trainings: the dense one and {levels} levels that each keep {level}, for a
sparsity of {sparsity}. Counted by operations with kept weights they cost {flops}, and any number of levels costs less
than {limit}. So {iterative} cannot be a count of operations, and {cheap} beside it in one table has to be a count of
trainings too.

- A network that is sparse from the first step on, and trained once, costs less than a dense training, but for its
scoring. A dense training and one at density d after it cost 1 + d together, so a ticket of one shot costs {cheap} at
{single_shot} sparsity, and less at any higher one.

- **ResNet-20.** Levels that each keep {level} do not reach the sparsities of the claim: {rungs}. Numbers of iterative
pruning at exactly these have a last level of another size.

- With {images:,} test images an accuracy of {accuracy} has a standard error of {error:.2f} points, by the images alone.
Two single runs that err on different images have to be {least:.1f} points apart to show an ordering.

- **2:4** keeps two of four weights. Its sparsity is 50 %, or less where the inputs of a layer cannot be divided by
four, and its speed-up is at most 2 by the multiplications. A row with 2:4 at 80 %, or one that is three times as fast
by 2:4 alone, cannot be right.

- **Speed.** 1 / density is a count of operations. Where no kernel skips zeros it is not a speed-up."""


def limits() -> Iterator[str]:
    """What follows by arithmetic, whatever is measured."""
    levels = round(ITERATIVE) - 1
    error = 100 * math.sqrt(DENSE_ACCURACY * (1 - DENSE_ACCURACY) / IMAGES)
    around = {target: map(percent, _around(target)) for target in RESNET20}
    text = LIMITS.format(
        iterative=whole(ITERATIVE),
        trainings=levels + 1,
        levels=levels,
        level=whole(LEVEL),
        sparsity=percent(1 - LEVEL**levels),
        flops=whole(sum(LEVEL**level for level in range(levels + 1))),
        limit=whole(1 / (1 - LEVEL)),
        cheap=whole(CHEAP),
        single_shot=percent(2 - CHEAP),
        rungs="; ".join(f"{' and '.join(some)} around {percent(target)}" for target, some in around.items()),
        images=IMAGES,
        accuracy=percent(DENSE_ACCURACY),
        error=error,
        least=1.96 * math.sqrt(2) * error,
    )
    for paragraph in text.split("\n\n"):
        yield from wrapped(paragraph, indent="  ")


def _around(target: float) -> tuple[float, float]:
    """The sparsities of whole levels below and above one."""
    levels = math.log(1 - target) / math.log(LEVEL)
    return 1 - LEVEL ** math.floor(levels), 1 - LEVEL ** math.ceil(levels)


def page(boards: Boards) -> Page:
    answers = {
        "LeNet": tuple(lenet(boards)),
        "ResNet-20": tuple(resnet20(boards)),
        "Training cost": tuple(cost(boards)),
        "2:4": tuple(two_of_four(boards)),
    }
    return Page(INTRODUCTION, answers, ("## What cannot be right", "", *limits()))
