"""`mesm predict`: a trained run on recordings of one's own."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from mesm.cli.shared import Mtcnn


def predict(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="A trained or published FE2E or MESM: its folder, or hub:USER/NAME; or demo, the "
            "model that comes with mesm.",
        ),
    ] = None,
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="INPUT", help="Videos, sound files, or folders of them."),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="All that is said, in one recording of at most 15 s.")
    ] = None,
    subtitles: Annotated[
        Path | None,
        typer.Option(
            help="SRT or WebVTT; default: the recording's .srt or .vtt beside it, else subtitles "
            "inside it."
        ),
    ] = None,
    segments: Annotated[
        Path | None,
        typer.Option(help="A table with start, end and text: the pieces that are predicted."),
    ] = None,
    transcribe: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A speech-recognition model's folder, which finds words."),
    ] = None,
    person: Annotated[
        str | None,
        typer.Option(
            metavar="N|all", help="Whose face: 1 is seen longest in a piece; all: each in turn."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Predictions as .jsonl, .csv or .parquet."),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="MESM: faces and spectrograms with what each block keeps."
        ),
    ] = None,
    video: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.mp4",
            help="One recording with bars per emotion and kept sites on the face.",
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or cuda:N; default: the GPU if there is one.")
    ] = None,
    mtcnn: Mtcnn = None,
) -> None:
    """Predict the emotions of recordings; long ones are cut by subtitles or at pauses."""
    if run is None or not inputs:
        raise ValueError(_unnamed(run))
    from mesm.inference.command import Request, check_person, predict_all
    from mesm.inference.cutting import Words

    request = Request(
        tuple(inputs),
        Words(text, subtitles, segments),
        check_person(person),
        out,
        pictures,
        video,
        transcribe,
    )
    if predict_all(run, request, typer.echo, device, mtcnn):
        raise typer.Exit(1)


def _unnamed(run: str | None) -> str:
    """That RUN or INPUT is missing."""
    recording = shlex.quote(run) if run is not None and Path(run).is_file() else "me.mp4"
    return (
        "predict: wanted RUN and then recordings; without a run of your own, take the model that "
        f"comes with mesm: mesm predict demo {recording}"
    )
