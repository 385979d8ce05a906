"""Helpers of all `mesm` commands: refusals of bad input, and the names of the splits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import typer

Split = Literal["train", "valid", "test"]


@contextmanager
def refusals_in_one_line() -> Iterator[None]:
    """Bad input is the user's to mend, so it is shown as a sentence and not as a traceback."""
    try:
        yield
    except (ValueError, OSError) as error:
        typer.secho(f"mesm: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(2) from error
