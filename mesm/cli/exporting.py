"""`mesm export`: a trained model to a file that runs without this package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mesm.cli.shared import Corpus


def export(
    run: Annotated[
        str,
        typer.Argument(help="A trained or published FE2E or MESM: its folder, or hub:USER/NAME."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx|OUT.pt2", help="The file to write.")],
    device: Annotated[str, typer.Option(help="Where a .pt2 will run: cpu.")] = "cpu",
    clip: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Also write this clip's inputs beside, to OUT.safetensors."
        ),
    ] = None,
    corpus: Corpus = None,
) -> None:
    """Write a model for onnxruntime, or for LibTorch: prepared clips to probabilities."""
    from mesm.exporting.command import export as write

    typer.echo("\n".join(map(str, write(run, out, device=device, clip=clip, corpus=corpus))))
