"""A run's settings as its config.yaml has them, also where another version wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mesm.config.files import parse_config, read_yaml


def read_settings(file: Path) -> dict[str, Any]:
    """config.yaml as JSON values, with the defaults of keys the run was made without.

    Settings that this version does not know stay as they are.

    Raises:
        ValueError: the file holds no settings of a run; names it.
    """
    values = read_yaml(file)
    model = values.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("name"), str):
        raise ValueError(f"{file}: wanted the settings of a run, with a model section")
    if not isinstance(values.get("corpus"), str):
        raise ValueError(f"{file}: wanted the settings of a run, with the corpus's folder")
    try:
        return parse_config(values, str(file)).model_dump(mode="json")
    except ValueError:
        # A run of another version of this package still has scores to show.
        return values
