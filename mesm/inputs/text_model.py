"""The settings of a pretrained encoder of texts in a local folder; which kinds are taken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mesm.runs.ordinary import check_contents, ordinary

# transformers, which takes a second to import, is imported where it is needed.

WANTED = (
    "model.text.path wants a folder with an encoder such as ALBERT, BERT, RoBERTa, DistilBERT, "
    "DeBERTa, ELECTRA or MiniLM (config.json, model.safetensors, tokenizer.json)"
)
# Keys of config.json that tell how a model was trained, kept or run, not what it is.
_NO_SETTINGS = frozenset(
    (
        *("transformers_version", "_name_or_path", "_commit_hash", "architectures", "id2label"),
        *(
            "label2id",
            "num_labels",
            "problem_type",
            "dtype",
            "torch_dtype",
            "return_dict",
            "use_cache",
        ),
        *("output_attentions", "output_hidden_states", "torchscript", "gradient_checkpointing"),
        *("attn_implementation", "_attn_implementation", "_attn_implementation_internal"),
    )
)


def read_text_model(folder: Path) -> dict[str, Any]:
    """The settings of the encoder in a local folder, from which `encoder_config` makes it again.

    Returns:
        Plain values of its config.json, "model_type" among them; no weights.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds code, no encoder of texts, or a damaged config.json; names the file.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no text model at {folder}: a folder with its files is wanted")
    check_contents(folder)
    code = next(iter(sorted(folder.glob("*.py"))), None)
    if code is not None:
        raise ValueError(
            f"{code}: code in a model's folder, which is never run; if the model does without, "
            "as with a script that once trained it, delete that file"
        )
    file = folder / "config.json"
    if not file.exists():
        raise ValueError(f"{folder}: no config.json there; {WANTED}")
    for name in ("config.json", "tokenizer_config.json"):
        if (folder / name).exists() and "auto_map" in read_keys(folder / name):
            raise ValueError(
                f"{folder / name}: auto_map wants code of the model's own, which is never run; "
                f"{WANTED}"
            )
    if (folder / "adapter_config.json").exists():
        raise ValueError(
            f"{folder / 'adapter_config.json'}: an adapter to another model; merge both into one "
            f"folder; {WANTED}"
        )
    found = read_keys(file)
    if found.get("quantization_config") is not None:
        raise ValueError(f"{file}: its weights are quantized; take the model they were made of")
    if "model_type" not in found:
        raise ValueError(f"{file}: names no model_type; {WANTED}")
    try:
        settings = encoder_config(found).to_diff_dict()
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    kept = {name: value for name, value in settings.items() if name not in _NO_SETTINGS}
    as_json: dict[str, Any] = json.loads(json.dumps(kept))  # tuples are lists once they are kept
    return as_json


def encoder_config(settings: Mapping[str, Any]) -> Any:
    """The configuration that transformers makes an encoder of texts from.

    Args:
        settings: what `read_text_model` gave; without "model_type" they are an ALBERT's.

    Returns:
        Its `PreTrainedConfig`.

    Raises:
        ValueError: they are no settings, or of no encoder of texts.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    values = {name: value for name, value in settings.items() if name not in _NO_SETTINGS}
    kind = values.pop("model_type", "albert")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise ValueError(f"transformers knows no model_type {kind!r}; {WANTED}")
    refused = _not_an_encoder(kind)
    if refused is not None:
        raise ValueError(f"{kind!r} {refused}; {WANTED}")
    try:
        config = CONFIG_MAPPING[kind](**values)
    except (ValueError, TypeError, LookupError, AttributeError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"not the settings of a {kind} ({reason[:200]})") from error
    if config.is_encoder_decoder:
        raise ValueError(f"this {kind} has a decoder after its encoder; {WANTED}")
    for name in ("is_decoder", "add_cross_attention", "causal"):
        if getattr(config, name, False):
            raise ValueError(f"this {kind} is a decoder ({name} is true); {WANTED}")
    spread = getattr(config, "initializer_range", 0)
    if not isinstance(spread, int | float) or spread < 0:
        raise ValueError(f"initializer_range must be a number of at least 0, got {spread!r}")
    if config.sub_configs:
        raise ValueError(f"{kind!r} is made of several models; {WANTED}")
    return config


def _not_an_encoder(kind: str) -> str | None:
    """Why no model of this kind is an encoder of texts; None: it may be."""
    from transformers.models.auto import modeling_auto as auto

    if kind in auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        return "has a decoder after its encoder"
    # Encoders are pretrained on texts with masked words, and some of them can be decoders too.
    if kind in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return None
    if kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "is a decoder, whose first subword has read none of the others"
    return "is no encoder of texts"


def read_keys(file: Path) -> dict[str, Any]:
    """The keys and values of a JSON file; ValueError names the file."""
    from mesm.runs.files import finite_json  # brings pydantic, without which a step can do

    try:
        found = finite_json(ordinary(file).read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"wanted keys and values, got {type(found).__name__}")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not JSON ({error}); copy the model's folder again") from error
    return found
