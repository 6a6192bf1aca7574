"""What a job does, in words that fit a line."""

from prunebench import Initialize, Prune, Reinitialize, Rewind, Shuffle, Train
from prunebench.execution.wording import described
from prunebench.plan.planning import protocol, resolve


def test_every_stage_is_a_few_words_with_its_steps(tiny):
    chance = tiny.ByChance()
    chain = (
        Initialize(),
        Train(until="3it"),
        Train(until="9it", by=chance, density=0.5),
        Prune(by=chance, density=1 / 3),
        Shuffle(),
        Rewind(to="3it"),
        Reinitialize(),
    )
    trial = tiny.trial(tiny.Chained(chain=chain), task=tiny.task(steps=20))
    assert [described(node) for node in resolve(trial, protocol(trial.task, "data"))] == [
        "initialize",
        "train from step 0 to 3",
        "train from step 3 to 9 by by-chance",
        "prune to density 0.3333 by by-chance",
        "shuffle",
        "rewind to step 3",
        "reinitialize",
    ]
