"""`mesm publish`: a trained run to a folder, or to the hub."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from mesm.cli.shared import Corpus


def publish(
    run: Annotated[Path, typer.Argument(help="Folder of a trained and evaluated run.")],
    to: Annotated[str, typer.Argument(metavar="DIR|hub:USER/NAME", help="Where it goes.")],
    licence: Annotated[
        str | None,
        typer.Option(
            "--license",
            metavar="ID",
            help="Of the model, as the hub calls it, e.g. cc-by-4.0; default: what follows from "
            "its corpus'.",
        ),
    ] = None,
    private: Annotated[
        bool,
        typer.Option(
            "--private", help="On the hub: seen by you alone; a public model is not replaced."
        ),
    ] = False,
    corpus: Corpus = None,
) -> None:
    """Make a model folder that needs neither run nor corpus, with a card that says what it is."""
    from mesm.publishing.hub import hub_name, upload
    from mesm.publishing.publish import publish as write

    name = hub_name(to)
    if name is None:
        if private:
            raise ValueError(f"publish: --private is for hub:USER/NAME, not for the folder {to}")
        typer.echo(write(run, Path(to), licence=licence, corpus=corpus))
        return
    with tempfile.TemporaryDirectory(prefix="mesm-publish-") as place:
        folder = Path(place) / name.rpartition("/")[2]
        write(run, folder, licence=licence, corpus=corpus)
        typer.echo(upload(folder, name, private=private))
