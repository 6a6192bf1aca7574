"""The leaderboard as LaTeX."""

import re

import pytest

from prunebench.leaderboard.rows import table
from prunebench.leaderboard.selection import select
from prunebench.leaderboard.tables.latex import as_latex, escaped


def latex_of(results):
    return as_latex(table(select(results)))


@pytest.fixture
def board(result, seeds):
    return [
        *seeds(0.930, 0.941, 0.952, method="unpruned", control=True),
        *seeds(0.920, 0.931, 0.945, method="good"),
        *seeds(0.900, 0.911, 0.913, method="good", sparsity=0.98),
        *seeds(0.810, 0.802, 0.821, method="poor_one"),
        *[result(method="poor_one", sparsity=0.98, seed=seed, status="failed") for seed in range(3)],
    ]


def test_the_table_has_means_deviations_and_the_best_tier_in_bold(board):
    text = latex_of(board)
    assert r"    method & 90\,\% & 98\,\% \\" in text
    assert r"    good & $\mathbf{93.2 \pm 1.3}$ & $90.8 \pm 0.7$ \\" in text
    assert r"    poor\_one & $81.1 \pm 1.0$ & failed \\" in text
    assert [line for line in text.splitlines() if r"rule" in line].count(r"    \toprule") == 2


def test_the_caption_says_seeds_denominator_and_the_dense_network(board):
    caption = re.search(r"\\caption\{(.*)\}\n", latex_of(board))[1]
    assert "over 3 seeds" in caption
    assert "share of the 1,000 prunable weights that is exactly zero" in caption
    assert r"Dense network (unpruned): 94.1 $\pm$ 1.1." in caption
    assert r"1.1. \textbf{Bold}: the best mean at this sparsity. Sparsity: share" in caption


def test_costs_have_a_table_of_their_own(board):
    text = latex_of(board)
    assert r"    good & $0.2\times$ & $0.04\times$ \\" in text
    labels = re.findall(r"\\label\{(.*)\}", text)
    assert labels == ["tab:digits-accuracy", "tab:digits-cost"]


def test_every_table_of_every_task_has_a_label_of_its_own(seeds):
    text = latex_of([one for task in ("a_b", "a-b", "A-b", "a b") for one in seeds(0.9, 0.8, method="m", task=task)])
    labels = re.findall(r"\\label\{(.*)\}", text)
    assert len({label.lower() for label in labels}) == 8
    assert "tab:a_b-cost" in labels


def test_without_tiers_the_caption_claims_none(seeds):
    assert r"\textbf" not in latex_of([*seeds(0.9, 0.8, method="a"), *seeds(0.7, 0.8, method="b")])


def test_an_incomplete_cell_says_how_many_seeds_it_has(seeds):
    text = latex_of([*seeds(0.9, 0.8, 0.7, method="a"), *seeds(0.6, 0.6, method="b")])
    assert r"    b & $60.0 \pm 0.0$ (2 of 3) \\" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & 50 % #1 {x} $y$", r"a\_b \& 50 \% \#1 \{x\} \$y\$"),
        (r"\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
        ("^~<>|", r"\textasciicircum{}\textasciitilde{}\textless{}\textgreater{}\textbar{}"),
        ("a\n\n% b\x07", r"a \% b"),
        ("1 ± 2 × 3 – 4", r"1 $\pm$ 2 $\times$ 3 -- 4"),
        ("--only", "-{}-only"),
    ],
)
def test_text_is_set_as_it_is(text, expected):
    assert escaped(text) == expected


def test_every_row_has_as_many_cells_as_the_table_has_columns(board, seeds):
    text = latex_of([*board, *seeds(0.5, 0.6, method=r"a & b \\ \end{tabular} %", sparsity=0.98)])
    columns = len(re.search(r"\{@\{\}(l[c]*)@\{\}\}", text)[1])
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in rows} == {columns}
    assert text.count(r"\begin{tabular}") == text.count("\n  \\end{tabular}\n") == text.count(r"\end{tabular}")
    assert not re.search(r"(?<!\\)%", text.partition("\n")[2])


def test_nothing_measured_is_no_table(result):
    assert latex_of([]).count("\n") == 1
    assert r"\begin" not in latex_of([result(control=True)])
