"""Numbers of others: shown beside the measured rows and marked everywhere, and in no test, rank or front."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunebench.api.errors import BoardError
from prunebench.leaderboard import as_html, files, markdown, records, sections, select, stale, table, text, write
from prunebench.leaderboard.boards.merging import merge
from prunebench.leaderboard.boards.published import read_board
from prunebench.leaderboard.plots.gallery import every_plot
from prunebench.leaderboard.queries import query
from prunebench.leaderboard.ranks import ranking
from prunebench.leaderboard.reported import FILE, Reported, check_tasks, dump, in_folder, parse, read_reported
from prunebench.leaderboard.selection import Selection
from prunebench.leaderboard.tables.checklist import checklist
from prunebench.leaderboard.tables.latex import as_latex
from prunebench.leaderboard.tables.pivots import costs, values
from prunebench.leaderboard.tables.sections import front
from prunebench.leaderboard.tables.summary import summary
from tests import runs

HEADER = "task,method,sparsity,metric,value,std,n,model,source\n"
PAPER = "Lee et al. 2019, table 2"
GIVEN = Reported("digits", "ours", 0.9, "accuracy", 99.5, PAPER, "LeNet-5", 0.25, 20)
"""Better than anything that is measured, by a method of the same name."""


@pytest.fixture
def measured(seeds):
    dense = seeds(0.95, 0.96, 0.94, method="dense", control=True)
    return [*dense, *seeds(0.9, 0.91, 0.89, method="ours"), *seeds(0.85, 0.87, 0.86, method="other")]


@pytest.fixture
def board(measured):
    selection = Selection(select(measured).results, reported=(GIVEN,))
    return table(selection), selection


@pytest.fixture
def plain(measured):
    selection = select(measured)
    return table(selection), selection


def test_a_reported_row_has_its_figures_in_the_units_of_the_others(board):
    [row] = [row for row in records(board[0]) if row["status"] == "reported"]
    shown = ("method", "target_sparsity", "n", "made_elsewhere")
    assert [row[name] for name in shown] == ["ours (reported)", 0.9, 20, f"{PAPER} (LeNet-5)"]
    assert (row["metric_mean"], row["metric_std"]) == pytest.approx((0.995, 0.0025))
    for name in ("tier", "told_apart", "against_best", "difference", "training_cost", "sparsity", "speedup"):
        assert row[name] in (None, "")


def test_the_measured_rows_are_what_they_are_without_it(board, plain):
    measured = [row for row in records(board[0]) if row["status"] != "reported"]
    assert [{name: row[name] for name in plain[0].columns} for row in measured] == records(plain[0])


def test_it_is_in_no_rank_test_front_or_list_of_answers(board, plain, seeds):
    [section], [other] = sections(board[0]), sections(plain[0])
    assert section.compared == {0.9: [row for row in section.rows if row["tier"] is not None]}
    assert [row["method"] for row in section.compared[0.9]] == ["ours", "other"]
    assert [row["method"] for row in front(section.rows)] == [row["method"] for row in front(other.rows)]
    assert list(summary(section)) == list(summary(other))
    assert checklist(section, board[1].results) == checklist(other, plain[1].results)
    assert list(section.methods) == ["ours", "other", "ours (reported)"]  # behind all others, whatever it says
    assert costs(section) == costs(other)
    assert list(query(board[0], sort="accuracy")["method"]) == ["dense", "ours", "other"]
    assert "reported" not in {row["status"] for row in records(query(board[0], "accuracy>=0.5"))}


def test_it_is_in_no_ranks_across_tasks(measured, seeds):
    both = [
        *measured,
        *seeds(0.8, 0.81, 0.79, task="b", method="ours"),
        *seeds(0.7, 0.7, 0.7, task="b", method="other"),
    ]
    frame = table(Selection(select(both).results, reported=(GIVEN,)))
    ranked = ranking(sections(frame))
    assert list(ranked.ranks) == ["ours", "other"]
    assert ranked.left_out == {}


def test_it_is_never_bold(board):
    [section] = sections(board[0])
    styles = {row[0]: row[1].spans[0].style for row in values(section).body}
    assert styles == {"ours": "strong", "other": "value", "ours (reported)": "value"}


@pytest.mark.parametrize("form", [markdown, lambda frame, _: text(frame), lambda frame, _: as_latex(frame), as_html])
def test_every_form_marks_it_and_says_where_it_comes_from(board, form):
    shown = " ".join(form(*board).split())
    assert "ours (reported)" in shown
    assert "Reported by others, not measured here and not ranked" in shown
    assert "Lee et al. 2019, table 2 (LeNet-5)" in shown


def test_it_is_not_told_as_work_that_is_missing(board):
    assert "Not done" not in markdown(*board)
    assert "reported at 90" not in text(board[0])


def test_its_marks_in_plots_are_hollow_and_it_has_no_cost(board):
    plots = {plot.file: plot for plot in every_plot(*board)}
    points = {one["method"]: one for one in plots["digits.svg"].specification["data"]["values"]}
    assert {name: one["complete"] for name, one in points.items()} == {
        "ours": True,
        "other": True,
        "ours (reported)": False,
    }
    assert points["ours (reported)"]["center"] == 99.5
    assert "hollow: reported by others" in str(plots["digits.svg"].card["title"])
    costed = plots["digits-cost.svg"].specification["data"]["values"]
    assert {one["method"] for one in costed} == {"ours", "other"}


def test_a_board_without_reported_numbers_is_what_it_was(measured):
    found = files(measured)
    assert FILE not in found
    assert b"reported" not in found["README.md"]


def test_a_published_folder_keeps_them(measured, tmp_path):
    write(measured, tmp_path, reported=(GIVEN,))
    again = read_board(tmp_path)
    assert again.reported == (GIVEN,)
    assert stale(again.results, tmp_path) == []
    write(measured, tmp_path)  # as a later run does
    assert "ours (reported)" in (tmp_path / "README.md").read_text("utf-8")
    (tmp_path / FILE).unlink()
    assert tmp_path / "README.md" in stale(again.results, tmp_path)


def test_merged_boards_have_the_numbers_of_all(measured, tmp_path):
    other = Reported("digits", "theirs", 0.9, "accuracy", 1.0, "x")
    for name, reported in (("a", (GIVEN,)), ("b", (other, GIVEN))):
        write(measured, tmp_path / name, reported=reported)
    merged = merge([read_board(tmp_path / name) for name in ("a", "b")])
    assert merged.board.reported == (GIVEN, other)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "reported.csv:1: no column 'task'"),
        ("task,method,sparsity,metric,accuracy\n", "unknown column 'accuracy'"),
        ("task,task,method,sparsity,metric,value,source\n", "a column is named twice"),
        (f"{HEADER}d,m,0.9,accuracy,1,,,,\n", ":2: source is empty"),
        (f"{HEADER}d,m,0.9,accuracy,1,,\n", ":2: not one value for each column"),
        (f"{HEADER}d,m,0.9,accuracy,1,,,,s,more\n", ":2: not one value for each column"),
        (f"{HEADER}d,m,90,accuracy,1,,,,s\n", ":2: sparsity: 90 is no share from 0 to below 1; write 0.9 for 90 %"),
        (f"{HEADER}d,m,-0.1,accuracy,1,,,,s\n", ":2: sparsity: -0.1 is no share"),
        (f"{HEADER}d,m,x,accuracy,1,,,,s\n", ":2: sparsity: 'x' is not a number"),
        (f"{HEADER}d,m,0.9,accuracy,1_000,,,,s\n", ":2: value: '1_000' is not a number"),
        (f"{HEADER}d,m,0.9,accuracy,1e13,,,,s\n", ":2: value: 1e13 is not between -1e+12 and 1e+12"),
        (f"{HEADER}d,m,0.9,accuracy,nan,,,,s\n", ":2: value: nan is not between"),
        (f"{HEADER}d,m,0.9,accuracy,1e999,,,,s\n", ":2: value: 1e999 is not between"),
        (f"{HEADER}d,m,0.9,accuracy,1,-2,,,s\n", ":2: std: -2 is below 0"),
        (f"{HEADER}d,m,0.9,accuracy,1,,0,,s\n", ":2: n: '0' is no number of runs"),
        (f"{HEADER}d,m,0.9,accuracy,1,,2.5,,s\n", ":2: n: '2.5' is no number of runs"),
        (f"{HEADER}d,m,0.9,accuracy,1,,{'9' * 5000},,s\n", ":2: n has more than 500 characters"),
        (f"{HEADER}d,m,0.9,accuracy,1,,,,s\nd,m,0.90,accuracy,2,,,,t\n", ":3: 'm' at 0.9 of 'd' is there twice"),
        (f'{HEADER}d,"m,0.9', "reported.csv:1: not CSV: unexpected end of data"),
        (f"{HEADER}d,m,0.9,accuracy,1,,,,{'s' * 501}\n", ":2: source has more than 500 characters"),
    ],
)
def test_a_hostile_file_is_refused_in_one_sentence(lines, said):
    with pytest.raises(BoardError) as caught:
        parse(lines)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_and_paths_that_are_no_file_are_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"task\xff")
    with pytest.raises(BoardError, match=r"a\.csv is not UTF-8 text: byte 4"):
        read_reported(tmp_path / "a.csv")
    with pytest.raises(BoardError, match="is not a file"):
        read_reported(tmp_path)
    with pytest.raises(BoardError, match="cannot be read: No such file"):
        read_reported(tmp_path / "b.csv")
    assert in_folder(tmp_path) == ()


def test_texts_are_shown_as_text(measured):
    evil = Reported("digits", "<script>", 0.9, "accuracy", 50.0, "=cmd|'x' ![a](b) \x1b[31m $x_1$")
    [again] = parse(dump([evil]).decode())
    assert again.source == "=cmd|'x' ![a](b) \\x1b[31m $x_1$"
    selection = Selection(select(measured).results, reported=(again,))
    page = as_html(table(selection), selection)
    assert "<script> (reported)" not in page
    assert "&lt;script&gt; (reported)" in page


def test_another_metric_or_an_impossible_value_is_an_error(measured):
    for change, said in (
        ({"metric": "perplexity"}, "has 'perplexity', and the task's metric is 'accuracy'"),
        ({"value": 100.5}, r"100\.50 % is better than the best accuracy there is"),
    ):
        one = Reported(**{**vars(GIVEN), **change})
        with pytest.raises(BoardError, match=said):
            table(Selection(select(measured).results, reported=(one,)))


def test_shares_in_place_of_percents_are_refused(measured):
    share = replace(GIVEN, value=0.918)
    message = r"'ours' of task 'digits' has 0.918, which is 0.918 %: values are as tables show them, such as 91.8"
    with pytest.raises(BoardError, match=message):
        table(Selection(select(measured).results, reported=(share,)))
    beside = replace(GIVEN, method="chance", value=0.1)
    assert table(Selection(select(measured).results, reported=(GIVEN, beside))) is not None


def test_a_task_that_the_board_lacks_is_an_error_with_the_nearest():
    with pytest.raises(BoardError, match=r"the board has no task 'digit'; did you mean 'digits'\?"):
        check_tasks([Reported("digit", "m", 0.5, "accuracy", 1.0, "s")], ["digits", "mnist"])


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text):
    for whole in (text, HEADER + text, f"{HEADER}{text},m,0.9,accuracy,1,,,,s\n"):
        with suppress(BoardError):  # and no other error
            found = parse(whole)
            assert parse(dump(found).decode()) == found


def test_the_command_shows_and_keeps_them(measured, tmp_path):
    write(measured, tmp_path / "board")
    (tmp_path / "paper.csv").write_text(f"{HEADER}digits,snip,0.95,accuracy,97.5,,,,{PAPER}\n".replace(PAPER, "paper"))
    done = runs.prunebench("leaderboard", "board", "--reported", "paper.csv", "--output", "board", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = runs.prunebench("leaderboard", "board", cwd=tmp_path).stdout
    assert "snip (reported)" in shown
    assert "snip (reported) from paper" in " ".join(shown.split())
    assert runs.prunebench("leaderboard", "board", "--check", cwd=tmp_path).stdout == "up to date\n"
    (tmp_path / "paper.csv").write_text(f"{HEADER}digit,snip,0.95,accuracy,97.5,,,,p\n")
    wrong = runs.prunebench("leaderboard", "board", "--reported", "paper.csv", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "the board has no task 'digit'; did you mean 'digits'?" in wrong.stderr


def test_hollow_marks_have_an_outline_which_boards_without_any_do_not_need(board, plain):
    def outlined(frame, selection):
        layers = [layer for plot in every_plot(frame, selection) for layer in plot.specification.get("layer", ())]
        marks = [layer for layer in layers if layer["mark"].get("type") == "point"]
        return ["stroke" in layer["encoding"] for layer in marks]

    assert outlined(*board) == [True, False]  # against sparsity, and against cost, where nothing is reported
    assert outlined(*plain) == [False, False]
