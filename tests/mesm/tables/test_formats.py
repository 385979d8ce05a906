"""Each format says the same, and nothing in a name can break out of it."""

import json
import re
from pathlib import Path

import pytest

from mesm.tables.formats import escape_latex, to_json, to_latex, to_markdown, write_tables
from mesm.tables.table import Cell, Table, row

TABLE = Table(
    name="results_mosei",
    title="Results & more",
    groups=(("", 1), ("average", 2), ("", 1)),
    head=("", "Acc", "F1", "p_b"),
    rows=(
        row("mesm", "MESM [x_y 50 %]", Cell("57.4 ± 1.2", {"mean": 0.574}), Cell("–"), 3),
        row("paper", "FE2E, the paper", Cell("67.6", 67.6), Cell("47.4", 47.4), ""),
    ),
    notes=("F1: 2·TP / (2·TP + FP).", "A | B"),
    provenance={"runs": ["a"]},
)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("50 % & more", r"50 \% \& more"),
        ("a_b#c$d", r"a\_b\#c\$d"),
        ("{x}^~", r"\{x\}\textasciicircum{}\textasciitilde{}"),
        ("a\\b", r"a\textbackslash{}b"),
        ("57.4 ± 1.2", r"57.4 $\pm$ 1.2"),
        ("–", "--"),
        ("a < b > c | d", r"a \textless{} b \textgreater{} c \textbar{} d"),
        ("“x”", "``x''"),
        ("plain 1.0, (x)/[y]", "plain 1.0, (x)/[y]"),
    ],
)
def test_latex_is_escaped(text: str, escaped: str) -> None:
    assert escape_latex(text) == escaped


def test_latex_has_as_many_cells_as_columns_and_booktabs_rules() -> None:
    text = to_latex(TABLE)
    assert r"\begin{tabular}{lrrr}" in text
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == 1
    assert r"\cmidrule(lr){2-3}" in text
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert lines[0] == r" & \multicolumn{2}{c}{average} &  \\"
    assert lines[1] == r" & Acc & F1 & p\_b \\"
    assert lines[2] == r"MESM [x\_y 50 \%] & 57.4 $\pm$ 1.2 & -- & 3 \\"
    assert lines[3] == r"\textit{FE2E, the paper} & \textit{67.6} & \textit{47.4} &  \\"
    assert r"\caption{Results \& more}" in text
    # Braces that are not escaped pair up.
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert text.isascii()


def test_markdown_is_a_table_whose_papers_rows_are_in_italics() -> None:
    lines = to_markdown(TABLE).splitlines()
    assert lines[0] == "**Results & more**"
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:6]]
    assert cells[0] == ["", "average Acc", "average F1", "p_b"]
    assert all(re.fullmatch(r"-+:?", cell) for cell in cells[1])
    assert cells[2] == ["MESM [x_y 50 %]", "57.4 ± 1.2", "–", "3"]
    assert cells[3] == ["*FE2E, the paper*", "*67.6*", "*47.4*", ""]
    assert len({len(line) for line in lines[2:6]}) == 1
    assert lines[7:] == ["- F1: 2·TP / (2·TP + FP).", "- A \\| B"]


def test_markdown_escapes_what_would_end_a_cell() -> None:
    table = Table("t", "T", (("", 1),), ("a|b",), (row("", "x*y|z"),))
    assert "| x\\*y\\|z |" in to_markdown(table)


def test_json_keeps_full_precision_and_provenance() -> None:
    found = to_json(TABLE)
    assert found["columns"][1] == {"group": "average", "name": "Acc"}
    assert found["rows"][0]["cells"][1] == {"text": "57.4 ± 1.2", "value": {"mean": 0.574}}
    assert found["rows"][1]["kind"] == "paper"
    assert found["provenance"] == {"runs": ["a"]}


def test_three_files_a_table_and_none_half_written(tmp_path: Path) -> None:
    files = write_tables([TABLE], tmp_path / "deep" / "tables")
    names = ["results_mosei.md", "results_mosei.tex", "results_mosei.json"]
    assert [file.name for file in files] == names
    assert sorted(file.name for file in files[0].parent.iterdir()) == sorted(names)
    assert files[0].read_text(encoding="utf-8") == to_markdown(TABLE)
    assert json.loads(files[2].read_text(encoding="utf-8")) == to_json(TABLE)
