"""The `mesm` command."""

from mesm.cli.commands import app

__all__ = ["app"]
