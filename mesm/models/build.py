"""From settings to a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesm.config.baselines import TwoPhaseSettings
from mesm.config.experiment import FE2ESettings, MESMSettings
from mesm.models import FE2E, LFLSTM, MESM, EmoEmbs, LFTransformer, MulT
from mesm.models.text import read_albert_config

System = FE2E | MESM | LFLSTM | LFTransformer | EmoEmbs | MulT
MODELS: dict[str, type[System]] = {
    "fe2e": FE2E,
    "mesm": MESM,
    "lf_lstm": LFLSTM,
    "lf_transformer": LFTransformer,
    "emo_embs": EmoEmbs,
    "mult": MulT,
}


def model_arguments(settings: FE2ESettings, emotions: int, vocabulary: int) -> dict[str, Any]:
    """The plain keyword arguments of the model that the settings describe.

    Args:
        settings: the model's part of the configuration.
        emotions: E.
        vocabulary: how many subwords the tokenizer knows.

    Raises:
        ValueError: the ALBERT folder is none, or knows fewer subwords than the tokenizer.
    """
    text = settings.text
    if text.path is not None:
        albert = read_albert_config(text.path)
        known = albert.get("vocab_size", 30000)
        if vocabulary > known:
            raise ValueError(
                f"{text.path}: its tokenizer has {vocabulary} subwords, its weights {known}"
            )
    else:
        albert = {
            "vocab_size": vocabulary,
            "embedding_size": text.embedding,
            "hidden_size": text.hidden,
            "num_attention_heads": text.heads,
            "num_hidden_layers": text.layers,
            "intermediate_size": text.feedforward,
            "hidden_dropout_prob": text.dropout,
            "attention_probs_dropout_prob": text.dropout,
            "max_position_embeddings": max(text.max_length, 64),
        }
    shared = {"channels", "modalities", "hidden", "dim", "heads", "layers"}
    shared |= {"feedforward", "dropout", "norm_first"}
    if isinstance(settings, MESMSettings):
        shared |= {"attention_dims", "p", "selection", "query", "query_shuffle"}
        shared |= {"local_start"}
    arguments = settings.model_dump(mode="json", include=shared)
    return {"emotions": emotions, "albert": albert, **arguments}


def baseline_arguments(
    settings: TwoPhaseSettings, emotions: int, dims: Mapping[str, int]
) -> dict[str, Any]:
    """The plain keyword arguments of the two-phase baseline that the settings describe.

    Args:
        settings: the model's part of the configuration.
        emotions: E.
        dims: features per row of "text", "audio" and "video".
    """
    feed = {"name", *TwoPhaseSettings.model_fields} - {"modalities"}
    widths = {f"{stream}_dim": dims[stream] for stream in ("text", "audio", "video")}
    return {"emotions": emotions, **widths, **settings.model_dump(mode="json", exclude=feed)}


def build_model(name: str, arguments: dict[str, Any]) -> System:
    """The model, randomly initialised.

    Args:
        name: one of `MODELS`.
        arguments: what `model_arguments` or `baseline_arguments` gave.

    Raises:
        ValueError: an argument is out of its range.
    """
    return MODELS[name](**arguments)
