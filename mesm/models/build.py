"""From settings to a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mesm.config.baselines import TwoPhaseSettings
from mesm.config.end_to_end import FE2ESettings, MESMSettings, TextSettings
from mesm.config.experiment import AnySystem
from mesm.models.emo_embs import EmoEmbs
from mesm.models.late_fusion import LateFusionModel
from mesm.models.pretrained_text import load_text, read_pretrained
from mesm.models.registry import SYSTEMS
from mesm.models.two_phase import TwoPhaseModel
from mesm.models.vgg11 import load_vgg11
from mesm.runs.checkpoints import REMAKE, load_weights, read_arguments
from mesm.runs.folder import RunFolder
from mesm.runs.memory import memory_there_is

# Weights that are trained, their gradients, and Adam's two moments.
COPIES = 4

# The least share of a text model's subwords that its tokenizer may have: weights are rounded up to
# whole blocks, and a tokenizer whose file was cut lacks more.
LEAST_KNOWN = 0.75

Model = LateFusionModel | TwoPhaseModel


def arguments_of(settings: AnySystem, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The plain keyword arguments of the model that the settings describe.

    Args:
        settings: the model's part of the configuration.
        sizes: what `mesm.data.feed.Feed.sizes` gave.

    Raises:
        ValueError: the text model's folder is none, or does not fit its tokenizer, or knows fewer
            positions than a text may have subwords.
    """
    if isinstance(settings, TwoPhaseSettings):
        read = {"name", *TwoPhaseSettings.model_fields} - {"modalities"}
        widths = {f"{stream}_dim": sizes[stream] for stream in ("text", "audio", "video")}
        own = settings.model_dump(mode="json", exclude=read)
        return {"emotions": sizes["emotions"], **widths, **own}
    shared = {"channels", "modalities", "hidden", "dim", "heads", "layers"}
    shared |= {"feedforward", "dropout", "norm_first"}
    if isinstance(settings, MESMSettings):
        shared |= {"attention_dims", "p", "selection", "query", "query_shuffle"}
        shared |= {"local_start"}
        shared |= {"positive_start"} if settings.positive_start else set()
    own = settings.model_dump(mode="json", include=shared)
    return {"emotions": sizes["emotions"], **_text(settings.text, sizes), **own}


def _text(text: TextSettings, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The arguments that describe the text encoder."""
    if text.path is not None:
        return _pretrained(text.path, text, sizes)
    return {
        "albert": {
            "vocab_size": sizes["vocabulary"],
            "embedding_size": text.embedding,
            "hidden_size": text.hidden,
            "num_attention_heads": text.heads,
            "num_hidden_layers": text.layers,
            "intermediate_size": text.feedforward,
            "hidden_dropout_prob": text.dropout,
            "attention_probs_dropout_prob": text.dropout,
            "max_position_embeddings": max(text.max_length, 64),
        }
    }


def _pretrained(folder: Path, text: TextSettings, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The same of the encoder in a local folder; ValueError if it does not fit its tokenizer."""
    found = read_pretrained(folder)
    vocabulary, padding = sizes["vocabulary"], sizes.get("padding")
    copy = "copy tokenizer and weights again, from one model"
    if vocabulary < LEAST_KNOWN * found.vocabulary:
        raise ValueError(
            f"{folder}: its tokenizer has only {vocabulary} subwords, its weights "
            f"{found.vocabulary}; {copy}"
        )
    if vocabulary > found.vocabulary:
        raise ValueError(
            f"{folder}: its tokenizer has {vocabulary} subwords, its weights {found.vocabulary}; "
            f"{copy}"
        )
    if found.skipped is not None and padding not in (None, found.skipped):
        raise ValueError(
            f"{folder}: its tokenizer pads with subword {padding}, its weights count positions "
            f"without subword {found.skipped}; {copy}"
        )
    positions = found.positions
    if positions is not None and text.max_length > positions:
        raise ValueError(
            f"{folder}: its weights know {positions} positions, model.text.max_length is "
            f"{text.max_length}; set model.text.max_length={positions} or less"
        )
    # An ALBERT's argument has the name that earlier runs have kept.
    name = "albert" if found.settings["model_type"] == "albert" else "encoder"
    frozen = {"freeze_text": True} if text.freeze else {}
    return {name: found.settings, **frozen}


def differing_arguments(kept: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """The names of arguments that differ, such as "encoder.hidden_act".

    Args:
        kept: a run's; an earlier run may lack some.
        own: what `arguments_of` gave.
    """
    found = []
    for name in own:
        if name not in kept or kept[name] == own[name]:
            continue
        if isinstance(kept[name], dict) and isinstance(own[name], dict):
            found += [f"{name}.{key}" for key in differing_arguments(kept[name], own[name])]
        else:
            found.append(name)
    return found


def build_model(name: str, arguments: dict[str, Any]) -> Model:
    """The model, randomly initialised.

    Args:
        name: one of `mesm.models.registry.SYSTEMS`.
        arguments: what `arguments_of` gave.

    Raises:
        ValueError: an argument is unknown, of another kind or out of its range.
    """
    try:
        model = SYSTEMS[name].model(**arguments)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{name}: arguments that make no model ({error})") from error
    assert isinstance(model, LateFusionModel | TwoPhaseModel)
    return model


def check_memory(name: str, arguments: dict[str, Any], device: torch.device) -> None:
    """Refuse a model that the machine's memory cannot hold, before any of it is taken.

    Args:
        name: as of `build_model`.
        arguments: likewise.
        device: on which it is to be trained.

    Raises:
        ValueError: says how much is wanted and how much there is; or see `build_model`.
    """
    try:
        with torch.device("meta"):
            model = build_model(name, arguments)
        numbers = sum(value.numel() for value in model.state_dict().values())
        trained = sum(value.numel() for value in model.parameters() if value.requires_grad)
    except (RuntimeError, OverflowError) as error:  # torch's, of sizes beyond 64 bits
        raise ValueError(f"{name}: sizes that no memory holds; make the model smaller") from error
    training = numbers + (COPIES - 1) * trained
    places = [("memory", memory_there_is(), numbers if device.type == "cuda" else training)]
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        places.append(("memory of the GPU", total, training))
    for place, there, kept in places:
        wanted = 4 * kept
        if wanted > there:
            raise ValueError(
                f"{name}: {numbers:,} weights want {wanted / 2**30:,.0f} GiB, the {place} is "
                f"{there / 2**30:,.0f} GiB; make the model smaller, e.g. model.hidden"
            )


def restore_model(name: str, folder: RunFolder) -> tuple[Model, dict[str, Any]]:
    """The model of a trained run, and the arguments it was made with.

    Args:
        name: as of `build_model`.
        folder: of the run.

    Raises:
        ValueError: config.json or model.safetensors is missing, damaged or another model's; names
            the file.
    """
    arguments = read_arguments(folder)
    try:
        model = build_model(name, arguments)
    except (ValueError, RuntimeError, TypeError, OverflowError) as error:
        raise ValueError(
            f"{folder.model_arguments}: not the arguments of a {name} ({error}); {REMAKE}"
        ) from error
    load_weights(model, folder.best)
    return model, arguments


def initialise(
    model: nn.Module,
    settings: AnySystem,
    emotion_vectors: NDArray[np.float32] | None,
) -> None:
    """Give a new model what it starts from besides chance.

    Args:
        model: what `build_model` gave; changed in place.
        settings: say which pretrained weights FE2E and MESM start from.
        emotion_vectors: what `mesm.data.feed.Feed.emotion_vectors` gave, for EmoEmbs.

    Raises:
        ValueError: pretrained weights are not there, or another model's.
    """
    if isinstance(model, EmoEmbs) and emotion_vectors is not None:
        model.set_emotion_vectors(torch.from_numpy(emotion_vectors))
    if isinstance(model, LateFusionModel) and isinstance(settings, FE2ESettings):
        if settings.text.path is not None and model.text is not None:
            load_text(model.text, settings.text.path)
        if settings.vgg11 is not None:
            load_vgg11(model, settings.vgg11)
