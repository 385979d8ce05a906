"""How corpora, systems and runs are called in tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesm.config.experiment import ExperimentConfig
from mesm.config.files import MODEL_SETTINGS
from mesm.config.modalities import ALL, parse_modalities
from mesm.tables.costs import uniform
from mesm.tables.table import DASH

# In the order of the paper's Table 5.
MODALITIES = ("tav", "ta", "tv", "av", "t", "a", "v")


def system_order(name: str) -> int:
    """Where a system stands in the paper's tables; unknown ones come last."""
    names = list(MODEL_SETTINGS)
    return names.index(name) if name in names else len(names)


def run_name(config: ExperimentConfig | Mapping[str, Any]) -> str:
    """Name a run by its system and what departs from the usual: "MESM (p = 0.5, hard, TV)".

    Args:
        config: its settings, or their model section, as JSON values.
    """
    if isinstance(config, ExperimentConfig):
        config = config.model.model_dump(mode="json")
    facts = []
    if config["name"] == "mesm":
        p = uniform(config.get("p"))
        facts += [f"p = {describe_value(p)}"] if p is not None else []
        selection = config.get("selection") or "straight_through"
        facts += [selection] if selection != "straight_through" else []
        query = config.get("query") or "text"
        facts += [f"{describe_value(query)} as query"] if query != "text" else []
    modalities = parse_modalities(config.get("modalities") or ALL)
    facts += [modalities.upper()] if modalities != ALL else []
    system = MODEL_SETTINGS.get(config["name"])
    name = config["name"] if system is None else system.title
    return name + (f" ({', '.join(facts)})" if facts else "")


def describe_value(value: Any) -> str:
    """A setting as text: 0.5, 0.7/0.5/0.5 for a list, "face 0.7/0.5, audio 0.5" for a mapping."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {describe_value(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return "/".join(describe_value(part) for part in value)
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def reads_features(system: str) -> bool:
    """Whether a system's figures depend on hand-crafted features; unknown ones' may."""
    return system not in MODEL_SETTINGS or MODEL_SETTINGS[system].reads_features
