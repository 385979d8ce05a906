"""The experiment file: which systems, seeds and settings make up a grid."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from mesm.config.files import SHIPPED as CONFIGS
from mesm.config.files import read_yaml
from mesm.config.fold import FoldsSettings
from mesm.runs.ordinary import not_a_file

SHIPPED = CONFIGS / "experiments"

Seeds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
Values = Annotated[list[Any], Field(min_length=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Grid(_Settings):
    """Every config with every seed and every combination of the varied settings."""

    configs: Annotated[list[str], Field(min_length=1)] = Field(
        description="Config files, or names of shipped configs."
    )
    vary: dict[str, Values] = Field(
        default={}, description="Setting to its values, e.g. model.p: [0.1, 0.5]."
    )
    overrides: list[str] = Field(default=[], description="Changes to this grid's configs.")
    teacher: str | None = Field(
        default=None,
        description="Config in these grids whose run of the same seed teaches this grid's runs "
        "(training.teacher).",
    )
    seeds: Seeds | None = Field(default=None, description="None: those of the experiment.")
    folds: FoldsSettings | None = Field(default=None, description="None: as the experiment has it.")


class Experiment(_Settings):
    """An experiment file; groups of grids may share cells, which are trained once."""

    corpus: Path | None = Field(
        default=None, description="Folder of a prepared corpus; none: each config's own."
    )
    seeds: Seeds = [0]
    overrides: list[str] = Field(default=[], description="Changes to all configs.")
    folds: FoldsSettings | None = Field(
        default=None,
        description="Each cell is trained once per fold, e.g. {by: session}; none: on the corpus' "
        "own splits.",
    )
    grids: Annotated[dict[str, Annotated[list[Grid], Field(min_length=1)]], Field(min_length=1)] = (
        Field(description="Name of a group to its grid, or to several.")
    )
    splits: Annotated[list[Literal["train", "valid", "test"]], Field(min_length=1)] = Field(
        default=["test"], description="The splits that are scored."
    )

    @model_validator(mode="after")
    def _folds_are_tested(self) -> Experiment:
        folded = self.folds or any(grid.folds for own in self.grids.values() for grid in own)
        if folded and "test" not in self.splits:
            raise ValueError(f"splits: folds are scored on test, got {', '.join(self.splits)}")
        return self

    @field_validator("grids", mode="before")
    @classmethod
    def _one_grid_or_several(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {str(k): [v] if isinstance(v, dict) else v for k, v in value.items()}


def load_experiment(path: str | Path) -> Experiment:
    """Read an experiment file.

    Args:
        path: a YAML file, or the name of a shipped one such as "miniature".

    Raises:
        ValueError: the file is none, a key does not exist (near ones are named), or a value does
            not fit.
    """
    shipped = sorted(file.stem for file in SHIPPED.glob("*.yaml"))
    file = Path(path)
    if not file.is_file() and str(path) in shipped:
        file = SHIPPED / f"{path}.yaml"
    if not file.is_file():
        what = not_a_file(file) if file.exists() else "is no experiment file"
        raise ValueError(f"{path} {what}; shipped are {', '.join(shipped)}")
    values = read_yaml(file)
    try:
        return Experiment.model_validate(values)
    except ValidationError as error:
        lines = "; ".join(_explain(dict(problem)) for problem in error.errors())
        raise ValueError(f"{file}: {lines}") from None


def _explain(problem: dict[str, Any]) -> str:
    location = problem["loc"]
    place = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        model: type[BaseModel] = Experiment if len(location) == 1 else Grid
        if len(location) > 1 and location[-2] == "folds":
            model = FoldsSettings
        known = list(model.model_fields)
        near = difflib.get_close_matches(str(location[-1]), known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known)}"
        return f"there is no key {place}; {hint}"
    if problem["type"] == "missing":
        return f"{place} is missing"
    got = "" if isinstance(problem["input"], dict) else f", got {problem['input']!r}"
    return f"{place}{': ' * bool(place)}{problem['msg'].removeprefix('Value error, ')}{got}"
