"""`python -m mesm` is the `mesm` command."""

from mesm.cli import app

app()
