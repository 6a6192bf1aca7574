"""The network as it was given, beside the same after fine-tuning."""

from prunebench.leaderboard import rows
from prunebench.leaderboard.tables.pivots import caption, values
from prunebench.leaderboard.tables.sections import sections
from prunebench.leaderboard.tables.terminal import text
from prunebench.records.results import AS_GIVEN
from tests.leaderboard.conftest import make


def results(given=0.95):
    """The network as given is first by its label, and the best."""
    found = []
    for seed in range(3):
        found += [
            make("dense", seed=seed, accuracy=0.9 + seed / 100, control=True),
            make("snipper", seed=seed, accuracy=0.8 + seed / 100),
            make("a-file", seed=seed, accuracy=given, control=True, metrics={"training_cost": 0.0},
                 provenance={AS_GIVEN: "net.safetensors"}),
        ]  # fmt: skip
    return found


def of(frame, method):
    [row] = frame[frame["method"] == method].to_dict(orient="records")
    return row


def test_differences_are_from_the_network_that_was_trained():
    frame = rows(results())
    assert round(of(frame, "snipper")["difference"], 6) == -0.1
    assert list(frame["method"]) == ["dense", "a-file", "snipper"]
    assert of(frame, "a-file")["as_given"] == "net.safetensors"
    assert of(frame, "a-file")["pairs"] == 0


def test_it_has_no_column_and_no_rank_and_the_caption_tells_both_networks_apart():
    [section] = sections(rows(results()))
    assert section.sparsities == [0.9]
    assert values(section).header == ("method", "90 %")
    assert [row["method"] for row in section.controls] == ["dense"]
    assert (
        caption(section)
        .plain.partition(" Bold")[0]
        .endswith("Dense network (dense): 91.0 ± 1.0. As given (net.safetensors), without training here: 95.0.")
    )
    assert "As given (net.safetensors)" in " ".join(text(rows(results())).split())


def test_a_board_without_it_has_no_such_column():
    assert "as_given" not in rows([one for one in results() if one.method != "a-file"]).columns
