"""`mesm export`: a trained model to a file that runs without this package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[
        str,
        typer.Argument(help="A trained or published FE2E or MESM: its folder, or hub:USER/NAME."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="The file to write.")],
) -> None:
    """Write a model that onnxruntime runs: prepared clips to logits and probabilities."""
    from mesm.exporting.command import export as write

    typer.echo(write(run, out))
