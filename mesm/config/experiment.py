"""Everything that decides how a run turns out, as typed settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from mesm.config.baselines import (
    EmoEmbsSettings,
    LFLSTMSettings,
    LFTransformerSettings,
    MulTSettings,
)
from mesm.config.end_to_end import FE2ESettings, MESMSettings
from mesm.config.fold import FoldSettings
from mesm.config.settings import Number, Place, Positive, Settings, Truth, Whole

ThresholdPolicy = Literal["tuned", "tuned_wacc", "0.5"]
F1Variant = Literal["binary", "weighted"]
LossName = Literal["binary", "cross_entropy"]
MOST_WORKERS = 256
LARGEST = 1e38  # what float32 holds


def _whole_or_share(value: float) -> float:
    """A number of epochs as a whole one, a share as it is."""
    if value < 1:
        return value or 0
    if not value.is_integer():
        raise ValueError(f"wanted a whole number of epochs, or a share below 1, got {value:g}")
    return int(value)


EpochsOrShare = Annotated[Number, Field(ge=0.0), AfterValidator(_whole_or_share)]

# The settings that a config's model section may hold, in the order of the paper's tables; the
# name in them tells which.
AnySystem = (
    LFLSTMSettings
    | LFTransformerSettings
    | EmoEmbsSettings
    | MulTSettings
    | FE2ESettings
    | MESMSettings
)


class TrainingSettings(Settings):
    """How the model is trained."""

    seed: Annotated[Whole, Field(ge=0)] = 0
    epochs: Positive = 30
    patience: Positive = Field(
        default=6,
        description="Epochs without a better validation F1 (of one emotion a clip: macro F1) "
        "before training stops.",
    )
    keep: Literal["best", "last"] = Field(
        default="best",
        description="Which epoch's weights are the run's: of the best validation F1, or the last; "
        "a few validation clips cannot tell epochs apart.",
    )
    batch_size: Positive = Field(default=8, description="Clips per step and process.")
    learning_rate: Number = Field(default=5e-5, gt=0.0)
    text_learning_rate_factor: Number = Field(
        default=0.1, gt=0.0, description="The text encoder's rate, as a part of learning_rate."
    )
    attention_learning_rate_factor: Number = Field(
        default=1.0, gt=0.0, description="MESM's cross-modal attention's rate, likewise."
    )
    p_hold_epochs: EpochsOrShare = Field(
        default=0,
        description="Epochs for which MESM's p stays at p_start before it goes; below 1, a share "
        "of all epochs.",
    )
    p_warmup_epochs: EpochsOrShare = Field(
        default=0,
        description="Epochs over which MESM's p goes from p_start to model.p; below 1, a share of "
        "all epochs.",
    )
    p_start: Number = Field(
        default=1.0,
        gt=0.0,
        le=1.0,
        description="p of the first epoch, where p_hold_epochs or p_warmup_epochs is over 0.",
    )
    p_shape: Literal["linear", "cosine"] = Field(
        default="linear", description="Cosine: p stays longer near both ends."
    )
    p_drawn: Annotated[Number, Field(ge=0.0, le=1.0)] = Field(
        default=0.0,
        description="Share of the steps after p_hold_epochs whose p is drawn evenly between the "
        "epoch's and p_start, so that sites which p leaves out are learnt from, too.",
    )
    loss: LossName | None = Field(
        default=None,
        description="binary: each emotion for itself, of which a clip may have several or none; "
        "cross_entropy: softmax over the emotions, of which every clip has exactly one. None: as "
        "the corpus's manifest has it.",
    )
    branch_loss: Annotated[Number, Field(ge=0.0)] = Field(
        default=0.0,
        description="Weight of the loss of each modality's own logits, so that a modality that "
        "learns fast does not starve the others.",
    )
    teacher: Place | None = Field(
        default=None,
        description="Folder of a finished FE2E or MESM of the same corpus whose outputs are learnt "
        "besides the labels.",
    )
    distillation: Annotated[Number, Field(ge=0.0, le=1.0)] = Field(
        default=2 / 3,
        description="Share of the teacher's outputs in what is learnt, where there is a teacher; "
        "the labels have the rest.",
    )
    concentration: Annotated[Number, Field(ge=0.0)] = Field(
        default=0.0,
        description="Weight, rising from a third to two thirds of the training, of what the "
        "entropy of the first block's attention, as a share of the uniform one's, has over "
        "concentration_target.",
    )
    concentration_target: Number = Field(default=0.9, gt=0.0, le=1.0)
    concentrated: list[Literal["face", "audio"]] = Field(
        default=["face", "audio"], description="Whose attention is concentrated."
    )
    schedule: Literal["constant", "cosine", "plateau"] = Field(
        default="constant",
        description="Cosine: down to 0 at the last epoch. Plateau: times plateau_factor whenever "
        "the validation loss has not fallen for more than plateau_patience epochs.",
    )
    plateau_factor: Number = Field(default=0.1, gt=0.0, lt=1.0)
    plateau_patience: Annotated[Whole, Field(ge=0)] = 5
    warmup_steps: Annotated[Whole, Field(ge=0)] = Field(
        default=0, description="Steps over which the rate rises from 0."
    )
    weight_decay: Annotated[Number, Field(ge=0.0)] = Field(
        default=0.0, description="Decoupled from the gradient, as in AdamW; 0: plain Adam."
    )
    gradient_clip: Number | None = Field(default=1.0, gt=0.0, description="Norm; none: no limit.")
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    augment: Truth = Field(default=False, description="Mirror, shift and brighten at random.")
    workers: Annotated[Whole, Field(ge=0, le=MOST_WORKERS)] = Field(
        default=0, description="Decoding processes."
    )

    @model_validator(mode="after")
    def _p_is_reached(self) -> TrainingSettings:
        if self.p_hold_epochs >= self.epochs:
            raise ValueError(
                f"training.p_hold_epochs must be less than training.epochs = {self.epochs}, got "
                f"{self.p_hold_epochs}: p would never be model.p"
            )
        return self

    @model_validator(mode="after")
    def _float32_holds_them(self) -> TrainingSettings:
        rate = self.learning_rate
        factors = (1.0, self.text_learning_rate_factor, self.attention_learning_rate_factor)
        for name, value in (
            ("training.learning_rate, times its factors,", rate * max(factors)),
            ("training.weight_decay times learning_rate", self.weight_decay * rate * max(factors)),
            ("training.branch_loss", self.branch_loss),
            ("training.concentration", self.concentration),
        ):
            if value > LARGEST:
                raise ValueError(f"{name} must be at most {LARGEST:g}, got {value:g}")
        return self


class EvaluationSettings(Settings):
    """How logits become decisions, and decisions scores."""

    threshold: ThresholdPolicy = Field(
        default="tuned",
        description="tuned: per emotion, the one with the best binary F1 on the validation split; "
        "tuned_wacc: with the best weighted accuracy. Without effect where training.loss is "
        "cross_entropy.",
    )
    f1: F1Variant = Field(
        default="binary",
        description="Which F1 tables show: of the emotion, as in the paper, or weighted over its "
        "presence and absence, as the authors' CMU-MOSEI code has it. Files hold both. "
        "Likewise without effect.",
    )

    @field_validator("threshold", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, float) else value


class ExperimentConfig(Settings):
    """Everything that decides how a run turns out, apart from the corpus's content."""

    corpus: Place = Field(description="Folder of a prepared corpus.")
    fold: FoldSettings | None = Field(
        default=None, description="Other splits than the corpus' own; none: those."
    )
    model: Annotated[AnySystem, Field(discriminator="name")]
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_serializer(mode="wrap")
    def _without_no_fold(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A run on the corpus' own splits is written down as before there were folds."""
        values: dict[str, Any] = handler(self)
        if self.fold is None:
            values.pop("fold", None)
        return values

    @model_validator(mode="after")
    def _options_that_the_model_has(self) -> ExperimentConfig:
        model, training = self.model, self.training
        if training.augment and model.reads_features:
            raise ValueError(
                f"training.augment changes faces and sound; {model.name} reads features"
            )
        sparse = ("concentration", "p_hold_epochs", "p_warmup_epochs", "p_drawn")
        if model.reads_features and any(getattr(training, name) > 0 for name in sparse):
            raise ValueError(
                f"training.{', '.join(sparse[:-1])} and {sparse[-1]} are MESM's; "
                f"{model.name} has no sparse attention"
            )
        if training.teacher is not None and model.reads_features:
            raise ValueError(
                f"training.teacher is FE2E's and MESM's; {model.name} reads other inputs than those"
            )
        if training.branch_loss > 0 and not model.has_branches:
            raise ValueError(
                f"training.branch_loss needs logits per modality; {model.name} has none"
            )
        return self
