"""Settings from YAML files, with overrides such as `training.epochs=3`, and back to YAML."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from mesm.config.experiment import AnySystem, ExperimentConfig
from mesm.config.settings import SystemSettings
from mesm.config.yaml_text import SHOWN, parse_yaml, read_text
from mesm.runs.ordinary import not_a_file

SHIPPED = Path(__file__).parent / "shipped"
# By the name that a config gives them.
MODEL_SETTINGS: dict[str, type[SystemSettings]] = {
    get_args(kind.model_fields["name"].annotation)[0]: kind for kind in get_args(AnySystem)
}


def shipped() -> list[str]:
    """Names of the configs that come with the package: every corpus with every system."""
    return [f"{corpus}_{system}" for corpus in _names("corpora") for system in _names("systems")]


def _names(kind: str) -> list[str]:
    return sorted(file.stem for file in (SHIPPED / kind).glob("*.yaml"))


def read_yaml(file: Path) -> dict[str, Any]:
    """Read a YAML file's keys and values; ValueError if it holds something else."""
    values = parse_yaml(read_text(file), str(file))
    if not isinstance(values, dict):
        got = "an empty file" if values is None else type(values).__name__
        raise ValueError(f"{file}: wanted keys and values, got {got}; write `corpus: FOLDER`")
    return values


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read settings.

    Args:
        path: a YAML file, or the name of a shipped config such as "miniature_mesm".
        overrides: changes such as "training.epochs=3"; values are YAML; of two for one
            key the last counts.

    Raises:
        ValueError: the file is none, a key does not exist (near ones are named), or a value is
            out of its range.
    """
    if Path(path).is_file():
        values = read_yaml(Path(path))
    elif str(path) in shipped():
        values = _compose(str(path))
    else:
        what = not_a_file(Path(path)) if Path(path).exists() else "is no config file"
        raise ValueError(f"{path} {what}; shipped are {', '.join(shipped())}")
    for override in overrides:
        _override(values, override)
    return parse_config(values, str(path))


def _compose(name: str) -> dict[str, Any]:
    """A system's settings, changed by what a corpus changes for all systems, then for this one."""
    # Names of corpora, such as crema_d, and of systems, such as emo_embs, may be of two words.
    (corpus,) = [corpus for corpus in _names("corpora") if name.startswith(f"{corpus}_")]
    system = name.removeprefix(f"{corpus}_")
    values = read_yaml(SHIPPED / "systems" / f"{system}.yaml")
    changes = read_yaml(SHIPPED / "corpora" / f"{corpus}.yaml")
    own = changes.pop("systems", {}).get(system, {})
    return _merge(_merge(values, changes), own)


def _merge(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The changed values; what is a mapping in both is merged, everything else replaced."""
    merged = dict(values)
    for key, change in changes.items():
        both = isinstance(change, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], change) if both else change
    return merged


def parse_config(values: dict[str, Any], source: str) -> ExperimentConfig:
    """Check settings that were read from `source`; errors as in `load_config`."""
    try:
        return ExperimentConfig.model_validate(values)
    except ValidationError as error:
        lines = "; ".join(_explain(dict(problem)) for problem in error.errors())
        raise ValueError(f"{source}: {lines}") from None


def dump_config(config: ExperimentConfig) -> str:
    """The settings as YAML, every key written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def differing_keys(first: ExperimentConfig, second: ExperimentConfig) -> list[str]:
    """Each setting that differs, as "training.epochs (3, now 5)"."""
    one, two = flat_settings(first), flat_settings(second)
    return [
        f"{key} ({one.get(key)}, now {two.get(key)})"
        for key in one | two
        if one.get(key) != two.get(key)
    ]


def flat_settings(config: ExperimentConfig) -> dict[str, Any]:
    """Every setting by its whole name, as "training.epochs"."""
    return _flatten(config.model_dump(mode="json"))


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= _flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not key or not equals:
        raise ValueError(f"override must look like training.epochs=3, got {override!r}")
    if not text.strip():
        raise ValueError(f"override {override!r} has no value; for none write {key}=null")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ValueError(f"override {override!r}: {parent} has no keys below it")
    values[last] = parse_yaml(text, f"override {override[:SHOWN]!r}")


def _explain(problem: dict[str, Any]) -> str:
    place, known = _walk(problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=3, cutoff=0.5)
        parent = place.rpartition(".")[0]
        names = [f"{parent}.{name}" if parent else name for name in near]
        hint = f"did you mean {' or '.join(names)}?" if near else f"known are {', '.join(known)}"
        return f"there is no key {place}; {hint}"
    if problem["type"] == "missing":
        return f"{place} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    told = ", got " in message or isinstance(problem["input"], dict)
    value = repr(problem["input"])
    value = value if len(value) <= SHOWN else f"{value[:SHOWN]}..."
    got = "" if told else f", got {value}"
    return f"{place}: {message}{got}" if place else message


def _walk(location: tuple[int | str, ...]) -> tuple[str, list[str]]:
    """The dotted name of a place in the settings, and the keys known beside it."""
    level: Any = ExperimentConfig
    names: list[str] = []
    known: list[str] = list(ExperimentConfig.model_fields)
    for part in location:
        if level == AnySystem:  # the tag that chose among the models is no key
            level = MODEL_SETTINGS[str(part)]
            known = list(level.model_fields)
            continue
        names.append(str(part))
        if isinstance(level, type) and issubclass(level, BaseModel):
            known = list(level.model_fields)
            field = level.model_fields.get(str(part))
            level = field.annotation if field else None
    return ".".join(names), known
