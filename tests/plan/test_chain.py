"""Chains on the clock of a recipe: where stages begin and end, and what makes no sense."""

import pytest

from prunebench import Initialize, Prune, Reinitialize, Rewind, Shuffle, Train
from prunebench.api.errors import PrunebenchError, Unreachable
from prunebench.api.times import Clock
from prunebench.plan.chain import linked

CLOCK = Clock(steps_per_epoch=4, total=20)


@pytest.fixture
def prune(tiny):
    return Prune(by=tiny.ByChance(), density=0.5)


def told(stages):
    return [(type(link.stage).__name__, link.start, link.stop, link.source) for link in linked(stages, CLOCK)]


def test_times_become_steps_and_what_is_read_becomes_a_place(prune):
    stages = [Initialize(), Train("25%"), Train(), prune, Shuffle(), Rewind("5it"), Train("+1ep"), Reinitialize()]
    assert told(stages) == [
        ("Initialize", 0, 0, None),
        ("Train", 0, 5, None),
        ("Train", 5, 20, None),
        ("Prune", 20, 20, None),
        ("Shuffle", 20, 20, 2),
        ("Rewind", 20, 5, 1),
        ("Train", 5, 9, None),
        ("Reinitialize", 9, 0, None),
    ]


def test_trainings_of_no_steps_are_left_out_and_nobody_counts_them(prune):
    stages = [Initialize(), Train(0), Train(), Train("+0"), prune, Rewind(0), Shuffle()]
    assert told(stages) == [
        ("Initialize", 0, 0, None),
        ("Train", 0, 20, None),
        ("Prune", 20, 20, None),
        ("Rewind", 20, 0, 0),
        ("Shuffle", 0, 0, 0),
    ]


def test_rewinding_finds_the_first_point_of_that_step(prune):
    stages = [Initialize(), Train("5it"), Train(), prune, Rewind("5it"), Train(), prune, Rewind("25%")]
    assert told(stages)[-1] == ("Rewind", 20, 5, 1)


def test_shuffling_uncovers_what_any_pruning_removed_since_the_network_was_whole(prune):
    assert told([Initialize(), Train(), prune, Train("+3it"), prune, Shuffle()])[-1] == ("Shuffle", 23, 23, 1)


def test_shuffling_after_a_rewind_uncovers_the_weights_that_were_gone_back_to(prune):
    moving = Train(until="10it", by=prune.by)
    assert told([Initialize(), Train("5it"), Train(), prune, Rewind("5it"), Shuffle()])[-1] == ("Shuffle", 5, 5, 1)
    assert told([Initialize(), moving, Rewind(), Shuffle()])[-1] == ("Shuffle", 0, 0, 0)
    # Rewound to what was pruned before, or in step alone: the weights are those before the pruning.
    assert told([Initialize(), prune, Train(), prune, Rewind("20it"), Shuffle()])[-1] == ("Shuffle", 20, 20, 0)
    assert told([Initialize(), Train(), prune, Rewind(weights=False), Shuffle()])[-1] == ("Shuffle", 0, 0, 1)


def test_shuffling_reads_nothing_from_before_a_training_that_made_masks(prune):
    moving = Train(until="10it", by=prune.by)
    assert told([Initialize(), prune, moving, Train(), prune, Shuffle()])[-1] == ("Shuffle", 20, 20, 3)
    assert told([Initialize(), prune, moving, Shuffle()])[-1] == ("Shuffle", 10, 10, 0)


def test_nothing_is_a_chain_of_nothing():
    assert linked([], CLOCK) == []


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([Train()], "^a chain begins with Initialize, not with Train"),
        ([Initialize(), Train(), Initialize()], "^Initialize begins a chain, and comes nowhere else in it$"),
        ([Initialize(), Train(), Train("5it")], r"^Train\(until='5it'.* lies before step 20, where the chain stands$"),
        ([Initialize(), Train(), Rewind("5it")], r"^cannot rewind to 5it \(step 5\): the chain did not stop there$"),
        ([Initialize(), Train("+30it"), Rewind("end")], r"^cannot rewind to end \(step 20\)"),
    ],
)
def test_chains_that_make_no_sense_say_why(stages, message):
    with pytest.raises(PrunebenchError, match=message) as caught:
        linked(stages, CLOCK)
    assert not isinstance(caught.value, Unreachable)


def test_there_must_be_a_mask_to_shuffle():
    with pytest.raises(Unreachable, match="there is no mask to shuffle"):
        linked([Initialize(), Train(), Shuffle()], CLOCK)
