"""Places in Markdown files that a board fills."""

import pytest

from prunebench.api.errors import BoardError
from prunebench.leaderboard.boards.markers import TABLES, fill, linked, regions
from prunebench.leaderboard.rows import table
from prunebench.leaderboard.selection import select


def page(*names, between="old\n"):
    return "# Mine\n\n" + "\n".join(
        f"<!-- prunebench:begin {name} -->\n{between}<!-- prunebench:end {name} -->\n" for name in names
    )


@pytest.fixture
def frame(seeds):
    results = [
        *seeds(0.930, 0.941, 0.952, method="unpruned", control=True),
        *seeds(0.920, 0.931, 0.945, method="good"),
        *seeds(0.810, 0.802, 0.821, method="poor"),
    ]
    return table(select(results))


@pytest.fixture
def two(seeds):
    return table(select([*seeds(0.9, 0.8, method="a"), *seeds(0.7, 0.6, method="a", task="other")]))


def filled(text, frame, board="mine", folder=None):
    return fill(text, "README.md", board, frame, folder)


def test_a_table_stands_between_its_markers_and_all_else_stays(frame):
    text = filled("before\n" + page("mine/pivot") + "after", frame)
    assert text.startswith("before\n# Mine\n\n<!-- prunebench:begin mine/pivot -->\n\n| method")
    assert "|\n\n<!-- prunebench:end mine/pivot -->\nafter" in text
    assert "**93.2 ± 1.3**" in text
    assert "old" not in text


def test_filling_twice_changes_no_byte(frame):
    text = filled(page("mine/pivot", "mine/cost", "mine"), frame)
    assert filled(text, frame) == text


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_table_can_be_shown(name, frame):
    text = filled(page(f"mine/{name}"), frame, folder="board")
    assert len(text) > len(page(f"mine/{name}", between=""))
    assert filled(page(f"mine/digits/{name}"), frame, folder="board").count("\n") == text.count("\n")


def test_the_name_of_a_board_alone_shows_accuracies_and_costs(frame):
    text = filled(page("mine"), frame)
    assert (
        text.index("Test accuracy in percent") < text.index("**93.2") < text.index("Training cost") < text.index("0.2×")
    )


def test_boards_of_several_tasks_are_titled_or_one_is_chosen(two):
    text = filled(page("mine/pivot"), two)
    assert text.index("**digits**") < text.index("85.0") < text.index("**other**") < text.index("65.0")
    one = filled(page("mine/other/pivot"), two)
    assert "65.0" in one
    assert "85.0" not in one
    assert "**other**" not in one


def test_places_of_other_boards_and_examples_in_code_are_left_alone(frame):
    example = "```markdown\n" + page("mine/nonsense") + "```\n"
    text = example + page("other/pivot") + page("mine/cost")
    after = filled(text, frame)
    assert after.startswith(example + page("other/pivot"))
    assert "0.2×" in after


def test_the_lines_end_as_those_of_the_page_do(frame):
    text = filled(page("mine/cost").replace("\n", "\r\n"), frame)
    assert text.count("\n") == text.count("\r\n") > 8


def test_plots_are_links_to_the_published_board(frame, tmp_path):
    text = filled(page("mine/plot", "mine/cost-plot"), frame, folder="boards/my board")
    assert "![Test accuracy against sparsity: digits](boards/my%20board/digits.svg)" in text
    assert "(boards/my%20board/digits-cost.svg)" in text
    with pytest.raises(BoardError, match=r"README\.md:3: a plot is a link to a published board"):
        filled(page("mine/plot"), frame)
    assert linked(tmp_path / "boards" / "mine", tmp_path / "docs" / "page.md") == "../boards/mine"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("# Nothing\n", "README.md has no place for the board 'mine'; write the lines"),
        (page("your/pivot"), "no place for the board 'mine'; it has those of your/pivot"),
        (page("mine/pivott"), "README.md:3: a board has no table 'pivott'; did you mean 'pivot'"),
        (page("mine/zzz"), "README.md:3: a board has no table 'zzz'; there are caption, pivot"),
        (page("mine/mnist/pivot"), "README.md:3: the board 'mine' has no task 'mnist'; there are digits"),
        ("<!-- prunebench:begin mine -->\n", "README.md:1: 'mine' has no end"),
        ("\n<!-- prunebench:end mine -->\n", "README.md:2: an end without a beginning"),
        ("<!-- prunebench:begin a -->\n<!-- prunebench:begin b -->\n", "README.md:2: begins before the place 'a'"),
        ("<!-- prunebench:begin a -->\n<!-- prunebench:end b -->\n", "README.md:2: ends 'b', and line 1 began 'a'"),
        ("<!-- prunebench:begin -->\n<!-- prunebench:end -->\n", "README.md:1: a place without a name"),
    ],
)
def test_what_cannot_be_filled_says_why_and_where(text, complaint, frame):
    with pytest.raises(BoardError) as caught:
        filled(text, frame)
    assert complaint in str(caught.value)


def test_an_end_need_not_repeat_the_name():
    lines = ["<!-- prunebench:begin digits/pivot -->\n", "x\n", "  <!--prunebench:end-->\n"]
    (region,) = regions(lines, "x")
    assert (region.name, region.begin, region.end) == ("digits/pivot", 0, 2)
