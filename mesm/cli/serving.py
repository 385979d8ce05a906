"""`mesm serve`: a trained run as a page on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mesm.cli.shared import Mtcnn, at_least
from mesm.runs.extras import install

MISSING = "mesm serve: the package {} is missing; install the page's: {}"
# Packages of the extra `web`.
WEB = ("gradio", "fastapi", "uvicorn")


def _port(value: int | None) -> int | None:
    if value is not None and not 0 <= value <= 65535:
        raise typer.BadParameter(f"wanted a port from 1 to 65535, or 0 for any, got {value}")
    return value


def _minutes(value: float) -> float:
    if not 0 < value < float("inf"):  # NaN neither
        raise typer.BadParameter(f"wanted minutes above 0, got {value:g}")
    return value


def serve(
    run: Annotated[
        str,
        typer.Argument(
            help="A trained or published FE2E or MESM: its folder, or hub:USER/NAME; or demo, the "
            "model that comes with mesm."
        ),
    ],
    dense: Annotated[
        Path | None, typer.Option(help="An FE2E run of the same corpus to stand beside.")
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(
            help="Folder of recordings, or of a raw miniature corpus; default: the one that the "
            "run's corpus was prepared from, if it lies beside it as `raw`, else a few clips drawn "
            "for the page where the run knows generated ones."
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(callback=_port, help="Default: the first free one from 7860 on; 0: any."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Another address lets others use the page, without a password.")
    ] = "127.0.0.1",
    most_megabytes: Annotated[int, typer.Option(callback=at_least(1), help="Of an upload.")] = 200,
    most_minutes: Annotated[float, typer.Option(callback=_minutes, help="Of a recording.")] = 10.0,
    browse: Annotated[
        bool, typer.Option("--browse", help="Open a browser, where there is a screen.")
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or cuda:N; default: the GPU if there is one.")
    ] = None,
    mtcnn: Mtcnn = None,
    transcribe: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A speech-recognition model's folder, which finds words that nobody told.",
        ),
    ] = None,
) -> None:
    """Show a run in a browser: drop a clip, see its emotions and where the model looks."""
    try:
        from mesm.web.server import Request
        from mesm.web.server import serve as start
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in WEB:
            raise
        typer.secho(MISSING.format(package, install("web")), fg=typer.colors.RED, err=True)
        raise typer.Exit(2) from error
    from mesm.web.limits import Limits

    limits = Limits(most_megabytes, most_minutes)
    start(
        Request(run, dense, examples, host, port, limits, device, browse, mtcnn, transcribe),
        typer.echo,
    )
