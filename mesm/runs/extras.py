"""How to install what an extra of mesm brings, in this installation."""

from __future__ import annotations

import json
from importlib import metadata


def install(extra: str) -> str:
    """Return the command that adds an extra: to a wheel's installation, or in the source folder."""
    try:
        told = metadata.distribution("mesm").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return f"pip install -e '.[{extra}]'"
    where = json.loads(told or "{}").get("dir_info", {})
    source = "-e '." if where.get("editable") else "'mesm"
    return f"pip install {source}[{extra}]'"


def missing(error: ModuleNotFoundError) -> str:
    """Say which package is missing, and how to install what the experiment needs."""
    package = (error.name or "").partition(".")[0]
    return (
        f"the package {package} is missing; install what the experiment needs: "
        f"{install('experiment')}"
    )
