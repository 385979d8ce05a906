"""From settings to a model."""

from __future__ import annotations

from typing import Any

from mesm.config import FE2ESettings, MESMSettings
from mesm.models.fe2e import FE2E
from mesm.models.mesm import MESM
from mesm.models.text import read_albert_config

MODELS: dict[str, type[FE2E] | type[MESM]] = {"fe2e": FE2E, "mesm": MESM}


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


def build_model(name: str, arguments: dict[str, Any]) -> FE2E | MESM:
    """The model, randomly initialised.

    Args:
        name: "fe2e" or "mesm".
        arguments: what `model_arguments` gave.
    """
    return MODELS[name](**arguments)
