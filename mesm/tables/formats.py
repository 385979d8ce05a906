"""A table as Markdown, LaTeX and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mesm.runs.files import check_folder, write_beside
from mesm.tables.table import PAPER, Row, Table

# Characters that mean something to TeX, and those its standard fonts have under another name.
LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "−": r"$-$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "“": "``",
    "”": "''",
}


def escape_latex(text: str) -> str:
    """Text that TeX sets as it is read here."""
    return "".join(LATEX.get(letter, letter) for letter in text)


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is read here."""
    # Underscores stand inside names, where they emphasise nothing.
    for letter in "\\|*`<":
        text = text.replace(letter, "\\" + letter)
    return text


def to_markdown(table: Table) -> str:
    """A pipe table, whose columns also line up unrendered; the paper's lines in italics.

    Markdown has no spanning heads, so each column's head begins with its group's name.
    """
    heads = [
        escape_markdown(f"{group} {name}".strip())
        for (group, name) in zip(_group_per_column(table), table.head, strict=True)
    ]
    lines = [heads, *(_markdown_cells(row) for row in table.rows)]
    widths = [max(3, *(len(line[place]) for line in lines)) for place in range(len(heads))]
    rule = [
        "-" * width if place == 0 else "-" * (width - 1) + ":" for place, width in enumerate(widths)
    ]
    lines.insert(1, rule)
    body = ["| " + " | ".join(_pad(line, widths)) + " |" for line in lines]
    notes = [f"- {escape_markdown(note)}" for note in table.notes]
    title = f"**{escape_markdown(table.title)}**"
    return "\n".join([title, "", *body, "", *notes]).rstrip() + "\n"


def _group_per_column(table: Table) -> list[str]:
    return [name for name, span in table.groups for _ in range(span)]


def _markdown_cells(row: Row) -> list[str]:
    texts = [escape_markdown(cell.text) for cell in row.cells]
    return [f"*{text}*" if text else "" for text in texts] if row.kind == PAPER else texts


def _pad(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.ljust(width) if place == 0 else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]


def to_latex(table: Table) -> str:
    """A floating table with booktabs' rules; needs the packages booktabs and graphicx.

    It is made as wide as the page if it is wider, and never narrower.
    """
    columns = "l" + "r" * (len(table.head) - 1)
    lines = [
        "% needs \\usepackage{booktabs} and \\usepackage{graphicx}",
        "\\begin{table*}",
        "\\centering",
        f"\\caption{{{escape_latex(table.title)}}}",
        f"\\label{{tab:{table.name.replace('_', '-')}}}",
        "\\resizebox{\\ifdim\\width>\\textwidth\\textwidth\\else\\width\\fi}{!}{%",
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
    ]
    if any(name for name, _ in table.groups):
        cells, rules, start = [], [], 1
        for name, span in table.groups:
            wide = f"\\multicolumn{{{span}}}{{c}}{{{escape_latex(name)}}}"
            cells.append(wide if name else " & ".join([""] * span))
            if name:
                rules.append(f"\\cmidrule(lr){{{start}-{start + span - 1}}}")
            start += span
        lines += [" & ".join(cells) + r" \\", " ".join(rules)]
    lines += [" & ".join(escape_latex(name) for name in table.head) + r" \\", "\\midrule"]
    lines += [" & ".join(_latex_cells(row)) + r" \\" for row in table.rows]
    lines += ["\\bottomrule", "\\end{tabular}}"]
    if table.notes:
        notes = " ".join(escape_latex(note) for note in table.notes)
        lines += ["\\par\\smallskip", f"\\parbox{{\\textwidth}}{{\\footnotesize {notes}}}"]
    return "\n".join([*lines, "\\end{table*}"]) + "\n"


def _latex_cells(row: Row) -> list[str]:
    texts = [escape_latex(cell.text) for cell in row.cells]
    if row.kind == PAPER:
        return [f"\\textit{{{text}}}" if text else "" for text in texts]
    return texts


def to_json(table: Table) -> dict[str, Any]:
    """Everything, at full precision."""
    groups = _group_per_column(table)
    return {
        "name": table.name,
        "title": table.title,
        "columns": [
            {"group": group, "name": name} for group, name in zip(groups, table.head, strict=True)
        ],
        "rows": [
            {
                "kind": row.kind,
                "cells": [{"text": cell.text, "value": cell.value} for cell in row.cells],
            }
            for row in table.rows
        ],
        "notes": list(table.notes),
        "provenance": dict(table.provenance),
    }


def write_tables(tables: Sequence[Table], out: Path) -> list[Path]:
    """Write OUT/<name>.md, .tex and .json of each table.

    Returns:
        The files.

    Raises:
        ValueError: a file stands where the folder is to be.
    """
    check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for table in tables:
        contents = {
            ".md": to_markdown(table),
            ".tex": to_latex(table),
            ".json": json.dumps(to_json(table), indent=2, ensure_ascii=False) + "\n",
        }
        for ending, content in contents.items():
            file = out / f"{table.name}{ending}"
            write_beside(file, content)
            files.append(file)
    return files
