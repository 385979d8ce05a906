"""The `mesm table` commands: the paper's tables, and free comparisons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mesm.cli.shared import Split

if TYPE_CHECKING:
    from mesm.tables.table import Table

tables = typer.Typer(
    no_args_is_help=True,
    help="Make the paper's tables from runs: printed as Markdown; also as .md, .tex and .json.",
)
Folders = Annotated[list[Path], typer.Argument(help="Folders of evaluated runs, or above them.")]
TablesOut = Annotated[Path, typer.Option("--out", help="Folder for .md, .tex and .json files.")]
Synthetic = Annotated[
    bool | None,
    typer.Option("--synthetic/--real", help="Which the corpus is, where it is not recorded."),
]
GroupName = Annotated[
    str | None,
    typer.Option("--group", help="Of experiments: only the runs of this grid."),
]
Corpora = Annotated[
    list[Path] | None,
    typer.Option("--corpus", help="A prepared corpus that runs do not find; may be repeated."),
]
OUT = Path("tables")


@tables.command("results")
def table_results(
    folders: Folders,
    group: GroupName = None,
    out: TablesOut = OUT,
    split: Annotated[Split, typer.Option(help="Split whose scores are shown.")] = "test",
    synthetic: Synthetic = None,
    corpus: Corpora = None,
    paper: Annotated[
        bool | None,
        typer.Option("--paper/--no-paper", help="The paper's rows; default: if it is real."),
    ] = None,
) -> None:
    """Tables 3 and 4: scores per emotion and average, mean and deviation over the seeds."""
    from mesm.tables.experiments import group_folders
    from mesm.tables.results import results_tables

    _show_tables(
        lambda: results_tables(
            group_folders(folders, group),
            split,
            synthetic=synthetic,
            paper=paper,
            corpora=corpus or [],
        ),
        out,
    )


@tables.command("splits")
def table_splits(
    corpora: Annotated[list[Path], typer.Argument(help="Folders of prepared corpora.")],
    out: TablesOut = OUT,
    synthetic: Synthetic = None,
) -> None:
    """Tables 1 and 2: average words and seconds, clips per emotion and split."""
    from mesm.tables.splits import splits_tables

    _show_tables(lambda: splits_tables(corpora, synthetic=synthetic), out)


@tables.command("ablation")
def table_ablation(
    folders: Folders,
    group: GroupName = None,
    out: TablesOut = OUT,
    split: Annotated[Split, typer.Option(help="Split whose scores are shown.")] = "test",
    synthetic: Synthetic = None,
    corpus: Corpora = None,
) -> None:
    """Table 5: average scores of models that see a part of the modalities."""
    from mesm.tables.ablation import ablation_tables
    from mesm.tables.experiments import group_folders

    _show_tables(
        lambda: ablation_tables(
            group_folders(folders, group), split, synthetic=synthetic, corpora=corpus or []
        ),
        out,
    )


@tables.command("sweep")
def table_sweep(
    folders: Annotated[list[Path], typer.Argument(help="Folders of swept runs, or above them.")],
    group: GroupName = None,
    out: TablesOut = OUT,
    synthetic: Synthetic = None,
    corpus: Corpora = None,
) -> None:
    """Figure 5 as a table: quality against FLOPs and latency, per p or per budget."""
    from mesm.tables.experiments import group_folders
    from mesm.tables.sweeps import sweep_tables

    _show_tables(
        lambda: sweep_tables(
            group_folders(folders, group), synthetic=synthetic, corpora=corpus or []
        ),
        out,
    )


@tables.command("runs")
def table_runs(
    folders: Folders,
    by: Annotated[
        list[str], typer.Option(help="Setting to compare by, e.g. model.p; may be repeated.")
    ],
    group: GroupName = None,
    out: TablesOut = OUT,
    split: Annotated[Split, typer.Option(help="Split whose scores are shown.")] = "test",
    synthetic: Synthetic = None,
    corpus: Corpora = None,
) -> None:
    """Compare runs by chosen settings: mean and deviation over the seeds of each combination.

    Where the first setting is a number, also as curves (.png).
    """
    from mesm.plots.comparison import draw_comparison
    from mesm.plots.style import save_png
    from mesm.tables.comparison import comparison_tables
    from mesm.tables.experiments import group_folders

    made = _show_tables(
        lambda: comparison_tables(
            group_folders(folders, group), by, split, synthetic=synthetic, corpora=corpus or []
        ),
        out,
    )
    for table in made:
        figure = draw_comparison(table)
        if figure is not None:
            typer.echo(save_png(figure, out / f"{table.name}.png"))


def _show_tables(make: Callable[[], list[Table]], out: Path) -> list[Table]:
    from mesm.runs.files import check_folder
    from mesm.tables.formats import to_markdown, write_tables

    check_folder(out)
    made = make()
    files = write_tables(made, out)
    for table in made:
        typer.echo(to_markdown(table))
    typer.echo(", ".join(map(str, files)))
    return made
