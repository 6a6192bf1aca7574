"""The findings of Frankle & Carbin, asked of a board: on figures made by hand."""

from dataclasses import replace

import pytest

from prunebench.api.errors import StoreError

LADDER = (0.2, 0.8, 0.93, 0.97)
FEW = (0.8, 0.93, 0.97)


@pytest.fixture
def lottery(script):
    return script("lottery")


@pytest.fixture
def movement(script):
    return script("movement")


@pytest.fixture
def measurements(script):
    return script("measurements")


def seeds(middle, apart):
    """Of five seeds, the first two and the last three with the same mean."""
    return {0: middle - apart, 1: middle + apart, 2: middle - apart, 3: middle, 4: middle + apart}


def rows(apart, **methods):
    """Figures of five seeds that lie so far apart, beside a dense network's."""
    found = {("dense", 0.0): seeds(methods["dense"], 0)}
    for label, values in methods.items():
        if label != "dense":
            ladder = LADDER if label == "imp" else FEW
            for sparsity, value in zip(ladder, values, strict=True):
                found[label.replace("_", "-"), sparsity] = seeds(value, apart)
    return found


@pytest.fixture
def board(lottery):
    """One on which everything is as the paper says."""
    moved = [
        lottery.Moved(sparsity, seed, layer, size, kept, ticket, rest)
        for sparsity in LADDER
        for seed in range(5)
        for layer, size, kept, ticket, rest in (("one", 4, 1, 2.0, 1.0), ("two", 6, 3, 1.0, 0.5))
    ]
    stops = rows(
        10,
        dense=1000,
        imp=(950, 700, 1000, 1200),
        imp_reinit=(1750, 2000, 3000),
        one_shot=(900, 1100, 1500),
    )
    accuracy = rows(
        0.0004,
        dense=0.98,
        imp=(0.981, 0.984, 0.982, 0.979),
        imp_reinit=(0.979, 0.97, 0.96),
        one_shot=(0.982, 0.981, 0.96),
    )
    return lottery.Board(stops, accuracy, accuracy, moved, 5000)


def verdicts(lottery, board):
    return [answer.verdict.replace("*", "") for answer in lottery.answers(board)]


def test_everything_is_seen_on_a_board_like_the_papers(lottery, board):
    assert verdicts(lottery, board) == ["seen"] * 11


def test_nothing_is_seen_on_a_board_that_is_turned_round(lottery, board):
    def mirrored(found, middle):
        return {row: {seed: 2 * middle - value for seed, value in values.items()} for row, values in found.items()}

    other_moves = [replace(one, ticket=one.rest, rest=one.ticket) for one in board.moved]
    turned = replace(board, stops=mirrored(board.stops, 1000), stopped=mirrored(board.stopped, 0.98), moved=other_moves)
    assert verdicts(lottery, turned) == ["not seen"] * 11


def test_what_chance_may_explain_is_undecided(lottery, board):
    def noisy(found):
        return {
            row: values
            if row[0] == "dense"
            else seeds(values[3], (200 if row[0] == "imp" else -300) * (values[4] - values[3]))
            for row, values in found.items()
        }

    found = verdicts(lottery, replace(board, stops=noisy(board.stops), stopped=noisy(board.stopped)))
    # Where a density turns is no question of an interval; nor do the weights move otherwise.
    assert [place for place, answer in enumerate(found) if answer == "seen"] == [1, 3, 10]
    assert {found[place] for place in (0, 2, 4, 5, 6, 7, 8, 9)} == {"undecided"}


def test_a_best_density_far_from_the_papers_is_not_seen(lottery, board):
    stops = board.stops | {("imp", 0.2): seeds(600, 10)}
    assert next(lottery.answers(replace(board, stops=stops))).verdict == "**not seen**"


def test_the_best_density_is_chosen_by_other_seeds_than_tell_its_figure(lottery, board):
    """Seeds 0 and 1 say 7 %, where the others are no faster than the dense network; they would say 20 %."""
    lucky = {0: 100, 1: 100, 2: 990, 3: 1000, 4: 1010}
    answer = next(lottery.answers(replace(board, stops=board.stops | {("imp", 0.93): lucky})))
    assert answer.parts[0].number.startswith("fastest at 7.0 %: 0% sooner, +0 [")
    stopped = board.stopped | {("imp", 0.93): {0: 0.999, 1: 0.999, 2: 0.98, 3: 0.98, 4: 0.98}}
    better = [one for one in lottery.answers(replace(board, stopped=stopped)) if "rises by 0.3" in one.claim]
    assert better[0].parts[0].number.startswith("most at 7.0 %: +0.00 [")


def test_draws_of_new_weights_are_one_method_with_the_mean_of_each_seed(lottery):
    found = lottery.pooled(
        {
            ("imp-reinit", 0.8): {0: 1.0, 1: 2.0, 2: 5.0},
            ("imp-reinit-2", 0.8): {0: 4.0, 1: 4.0},
            ("imp-reinit-3", 0.8): {0: 1.0, 1: 6.0},
            ("imp-reinit", 0.5): {0: 7.0},
            ("imp-shuffle", 0.8): {0: 9.0},
        }
    )
    assert found == {
        ("imp-reinit", 0.8): {0: 2.0, 1: 4.0},
        ("imp-reinit", 0.5): {0: 7.0},
        ("imp-shuffle", 0.8): {0: 9.0},
    }


def test_networks_that_may_have_been_stopped_before_their_minimum_are_named(lottery, board):
    stops = board.stops | {("random", 0.97): {0: 4751, 1: 5000, 2: 4750, 3: 100, 4: 100}}
    text = " ".join(lottery.cut_off(replace(board, stops=stops)))
    assert "in the last 5% of the iterations, so that it may have fallen on, in random at 3.0 % (2 of 5)." in text
    assert "in no row." in " ".join(lottery.cut_off(board))


def test_layers_weigh_what_they_hold_in_the_distance_of_all_weights(movement, board):
    ticket, rest = movement.overall(board.moved)[0.8][0]
    assert ticket == pytest.approx((1 * 2.0 + 3 * 1.0) / 4)
    assert rest == pytest.approx((3 * 1.0 + 3 * 0.5) / 6)


def test_the_last_rung_is_that_of_the_first_row_of_rungs_that_hold(lottery):
    assert lottery.last_before({0.2: False, 0.5: True, 0.8: True, 0.9: False, 0.95: True}) == 0.8
    assert lottery.last_before({0.2: False}) is None


def test_movement_that_cannot_be_measured_leaves_what_was_there(measurements, tmp_path):
    def unmeasured():
        yield from ()
        raise StoreError

    (tmp_path / "movement.csv").write_text("as it was", "utf-8")
    with pytest.raises(StoreError):
        measurements.write(tmp_path / "movement.csv", unmeasured())
    assert (tmp_path / "movement.csv").read_text("utf-8") == "as it was"


def test_a_board_whose_movement_was_not_measured_says_so(lottery, movement, measurements, board, tmp_path):
    assert measurements.read(movement.Moved, tmp_path / "movement.csv") == []
    assert verdicts(lottery, replace(board, moved=[]))[-1] == "not run"


def test_movement_is_read_as_it_was_written(movement, measurements, board, tmp_path):
    measurements.write(tmp_path / "movement.csv", board.moved)
    assert measurements.read(movement.Moved, tmp_path / "movement.csv") == board.moved


def test_the_verdict_takes_three_seeds_that_agree(lottery, board):
    told = [line.rsplit("|", 2)[1].strip() for line in lottery.tickets(board)]
    assert told[3:] == ["yes", "yes", "undecided", "no"]
