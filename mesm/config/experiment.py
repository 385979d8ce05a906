"""Typed experiment settings: a YAML file plus overrides such as `training.epochs=3`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    Field,
    PlainValidator,
    ValidationError,
    field_validator,
    model_validator,
)

from mesm.config.baselines import (
    EmoEmbsSettings,
    LFLSTMSettings,
    LFTransformerSettings,
    MulTSettings,
    TwoPhaseSettings,
)
from mesm.config.modalities import parse_modalities
from mesm.config.p import BlockP, read_p
from mesm.config.settings import Positive, Settings, Share

SHIPPED = Path(__file__).parent / "shipped"

ThresholdPolicy = Literal["tuned", "tuned_wacc", "0.5"]
F1Variant = Literal["binary", "weighted"]


class TextSettings(Settings):
    """The text encoder: a local ALBERT, or a small one trained from scratch."""

    path: Path | None = Field(
        default=None,
        description="Folder of a pretrained ALBERT; none: a small one is trained from scratch, "
        "with subwords learnt on the training split, and the sizes below hold.",
    )
    max_length: Positive = Field(default=50, description="Subwords at most, [CLS] and [SEP] too.")
    vocabulary: Positive = Field(default=8000, description="Subwords learnt at most.")
    embedding: Positive = 64
    hidden: Positive = 128
    heads: Positive = 4
    layers: Positive = 2
    feedforward: Positive = 512
    dropout: Share = 0.1


class FE2ESettings(Settings):
    """The fully end-to-end model."""

    name: Literal["fe2e"]
    modalities: str = Field(default="tav", description="tav, ta, tv, va, t, a or v.")
    channels: list[Positive] = Field(
        default=[64, 128, 256, 512], min_length=4, max_length=4, description="Convolution widths."
    )
    hidden: Positive = Field(default=1024, description="Between the two layers after the pools.")
    dim: Positive = 64
    heads: Positive = 4
    layers: Positive = 4
    feedforward: Positive = 2048
    dropout: Share = 0.1
    norm_first: bool = Field(default=False, description="Pre-norm sequence encoders.")
    text: TextSettings = TextSettings()
    vgg11: Path | None = Field(
        default=None, description="VGG-11 weights with torchvision's names to start from."
    )

    @field_validator("modalities")
    @classmethod
    def _known_modalities(cls, value: str) -> str:
        return parse_modalities(value)


class MESMSettings(FE2ESettings):
    """The sparse model: FE2E's settings and those of its attention."""

    name: Literal["mesm"]  # type: ignore[assignment]
    attention_dims: list[Positive] | None = Field(
        default=None, min_length=3, max_length=3, description="None: each block's input width."
    )
    p: Annotated[BlockP, PlainValidator(read_p)] = Field(
        default=0.5,
        description="Attention mass that is kept, in (0, 1]: one number, three (one per block), "
        "or either of these for face and for audio.",
    )
    selection: Literal["weighted", "hard"] = "weighted"
    query: Literal["text", "audio", "face", "mean"] = Field(
        default="text",
        description="What asks the attention: the text (as in the paper), the sound, the faces, "
        "or the mean of what a clip has of them.",
    )
    query_shuffle: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=0.0,
        description="Share of the training clips whose faces and sound are asked by another "
        "clip's query, so that what it knows by heart cannot reach them as attention.",
    )

    local_start: list[Literal["face", "audio"]] = Field(
        default=[],
        description="Whose first stage's 3x3 convolutions start as the identity, so that a site's "
        "features tell what is there and not what is around it.",
    )

    @model_validator(mode="after")
    def _fits_the_modalities(self) -> MESMSettings:
        letters = {"text": "t", "audio": "a", "face": "v"}
        letter = letters.get(self.query)
        if letter is not None and letter not in self.modalities:
            raise ValueError(
                f"mesm needs the {self.query} ({letter}) as its query, got {self.modalities!r}"
            )
        read_p(self.p, [name for name in ("face", "audio") if letters[name] in self.modalities])
        return self


class TrainingSettings(Settings):
    """How the model is trained."""

    seed: Annotated[int, Field(ge=0)] = 0
    epochs: Positive = 30
    patience: Positive = Field(
        default=6, description="Epochs without a better validation F1 before training stops."
    )
    keep: Literal["best", "last"] = Field(
        default="best",
        description="Which epoch's weights are the run's: of the best validation F1, or the last; "
        "a few validation clips cannot tell epochs apart.",
    )
    batch_size: Positive = Field(default=8, description="Clips per step and process.")
    learning_rate: float = Field(default=5e-5, gt=0.0)
    text_learning_rate_factor: float = Field(
        default=0.1, gt=0.0, description="The text encoder's rate, as a part of learning_rate."
    )
    attention_learning_rate_factor: float = Field(
        default=1.0, gt=0.0, description="MESM's cross-modal attention's rate, likewise."
    )
    p_warmup_epochs: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Epochs over which MESM's p goes from p_start to model.p."
    )
    p_start: float = Field(
        default=1.0, gt=0.0, le=1.0, description="p of the first epoch, where p_warmup_epochs > 0."
    )
    p_shape: Literal["linear", "cosine"] = Field(
        default="linear", description="Cosine: p stays longer near both ends."
    )
    branch_loss: Annotated[float, Field(ge=0.0)] = Field(
        default=0.0,
        description="Weight of the loss of each modality's own logits, so that a modality that "
        "learns fast does not starve the others.",
    )
    concentration: Annotated[float, Field(ge=0.0)] = Field(
        default=0.0,
        description="Weight, rising from a third to two thirds of the training, of what the "
        "entropy of the first block's attention, as a share of the uniform one's, has over "
        "concentration_target.",
    )
    concentration_target: float = Field(default=0.9, gt=0.0, le=1.0)
    concentrated: list[Literal["face", "audio"]] = Field(
        default=["face", "audio"], description="Whose attention is concentrated."
    )
    schedule: Literal["constant", "cosine", "plateau"] = Field(
        default="constant",
        description="Cosine: down to 0 at the last epoch. Plateau: times plateau_factor whenever "
        "the validation loss has not fallen for more than plateau_patience epochs.",
    )
    plateau_factor: float = Field(default=0.1, gt=0.0, lt=1.0)
    plateau_patience: Annotated[int, Field(ge=0)] = 5
    warmup_steps: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Steps over which the rate rises from 0."
    )
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(
        default=0.0, description="Decoupled from the gradient, as in AdamW; 0: plain Adam."
    )
    gradient_clip: float | None = Field(default=1.0, gt=0.0, description="Norm; none: no limit.")
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    augment: bool = Field(default=False, description="Mirror, shift and brighten at random.")
    workers: Annotated[int, Field(ge=0)] = Field(default=0, description="Decoding processes.")


class EvaluationSettings(Settings):
    """How logits become decisions, and decisions scores."""

    threshold: ThresholdPolicy = Field(
        default="tuned",
        description="tuned: per emotion, the one with the best binary F1 on the validation split; "
        "tuned_wacc: with the best weighted accuracy.",
    )
    f1: F1Variant = Field(
        default="binary",
        description="Which F1 tables show: of the emotion, as in the paper, or weighted over its "
        "presence and absence, as the authors' CMU-MOSEI code has it. Files hold both.",
    )

    @field_validator("threshold", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, float) else value


class ExperimentConfig(Settings):
    """Everything that decides how a run turns out, apart from the corpus's content."""

    corpus: Path = Field(description="Folder of a prepared corpus.")
    model: Annotated[
        FE2ESettings
        | MESMSettings
        | LFLSTMSettings
        | LFTransformerSettings
        | EmoEmbsSettings
        | MulTSettings,
        Field(discriminator="name"),
    ]
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="after")
    def _options_that_the_model_has(self) -> ExperimentConfig:
        name, training = self.model.name, self.training
        if not isinstance(self.model, TwoPhaseSettings):
            return self
        if training.augment:
            raise ValueError(f"training.augment changes faces and sound; {name} reads features")
        if training.concentration > 0 or training.p_warmup_epochs > 0:
            raise ValueError(
                f"training.concentration and p_warmup_epochs are MESM's; {name} has no sparse "
                "attention"
            )
        if name == "mult" and training.branch_loss > 0:
            raise ValueError("training.branch_loss needs logits per modality; mult has none")
        return self


# By the name that a config gives them.
MODEL_SETTINGS: dict[str, type[Settings]] = {
    "fe2e": FE2ESettings,
    "mesm": MESMSettings,
    "lf_lstm": LFLSTMSettings,
    "lf_transformer": LFTransformerSettings,
    "emo_embs": EmoEmbsSettings,
    "mult": MulTSettings,
}


def shipped_configs() -> list[str]:
    """Names of the configs that come with the package."""
    return sorted(file.stem for file in SHIPPED.glob("*.yaml"))


def read_yaml(path: str | Path, shipped: Path, kind: str) -> tuple[Path, dict[str, Any]]:
    """Find a YAML file and read its keys and values.

    Args:
        path: a file, or the name of one that is shipped.
        shipped: folder of those that come with the package.
        kind: what the file is called in messages.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    names = sorted(file.stem for file in shipped.glob("*.yaml"))
    file = Path(path)
    if not file.is_file() and str(path) in names:
        file = shipped / f"{path}.yaml"
    if not file.is_file():
        raise ValueError(f"{path}: no such {kind} file; shipped are {', '.join(names)}")
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: not YAML ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{file}: wanted keys and values, got {type(values).__name__}")
    return file, values


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read settings.

    Args:
        path: a YAML file, or the name of a shipped config such as "miniature_mesm".
        overrides: changes such as "training.epochs=3"; values are YAML.

    Raises:
        ValueError: the file is none, a key does not exist (near ones are named), or a value is
            out of its range.
    """
    file, values = read_yaml(path, SHIPPED, "config")
    for override in overrides:
        _override(values, override)
    return parse_config(values, str(file))


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
    one, two = _flatten(first.model_dump(mode="json")), _flatten(second.model_dump(mode="json"))
    return [
        f"{key} ({one.get(key)}, now {two.get(key)})"
        for key in one | two
        if one.get(key) != two.get(key)
    ]


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
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ValueError(f"override {override!r}: {parent} has no keys below it")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"override {override!r}: the value is not YAML ({error})") from error


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
    got = "" if told else f", got {problem['input']!r}"
    return f"{place}: {message}{got}" if place else message


def _walk(location: tuple[int | str, ...]) -> tuple[str, list[str]]:
    """The dotted name of a place in the settings, and the keys known beside it."""
    level: Any = ExperimentConfig
    names: list[str] = []
    known: list[str] = list(ExperimentConfig.model_fields)
    for part in location:
        if FE2ESettings in get_args(level):  # the tag that chose among the models is no key
            level = MODEL_SETTINGS[str(part)]
            known = list(level.model_fields)
            continue
        names.append(str(part))
        if isinstance(level, type) and issubclass(level, BaseModel):
            known = list(level.model_fields)
            field = level.model_fields.get(str(part))
            level = field.annotation if field else None
    return ".".join(names), known
