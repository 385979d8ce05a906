"""The weights of a pretrained text encoder, and whether it does as an encoder must."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from mesm.inputs.text_model import WANTED, read_keys, read_text_model
from mesm.models.text import TextEncoder, without_pooler
from mesm.runs.finite import first_not_finite
from mesm.runs.ordinary import check_contents

# Numbers of weights as they are; others are a quantized model's, and want its scales.
_PRECISIONS = ("F64", "F32", "F16", "BF16")
# Share of the largest number of a text's vector by which padding may change the vector: rounding
# changed a MiniLM's by 1.3e-7.
_ROUNDING = 1e-4


class Pretrained(NamedTuple):
    """A text encoder as its folder describes it, without weights.

    Attributes:
        settings: for `TextEncoder`.
        vocabulary: how many subwords it knows.
        positions: how many subwords a text may have; None: any number.
        skipped: as `TextEncoder.skipped`.
    """

    settings: dict[str, Any]
    vocabulary: int
    positions: int | None
    skipped: int | None


def read_pretrained(folder: Path) -> Pretrained:
    """Read the settings of the encoder in a local folder, and see that they make one.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no encoder of texts; names the file.
    """
    settings = read_text_model(folder)
    try:
        with torch.device("meta"):  # takes no memory, whatever the sizes
            encoder = TextEncoder(settings)
    # Every kind of layer stumbles over nonsense in its own way.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        kind = settings["model_type"]
        raise ValueError(
            f"{folder / 'config.json'}: not the settings of a {kind} ({reason}); "
            "copy the model's folder again"
        ) from error
    return Pretrained(settings, encoder.vocabulary, encoder.positions, encoder.skipped)


def load_text(encoder: TextEncoder, folder: Path) -> None:
    """Give an encoder the weights that lie in a local folder.

    Args:
        encoder: made from what `read_pretrained` gave; changed in place.
        folder: holds safetensors, of an encoder or of one with heads, in one file or several.

    Raises:
        ValueError: they cannot be read, are not whole or not finite, or not this encoder's; or
            padding changes what the encoder says.
    """
    check_contents(folder)
    _check_weights(folder)
    model = encoder.transformer
    try:
        with _silence():
            loaded: Any = type(model).from_pretrained(
                folder,
                config=copy.deepcopy(model.config),  # config.json has been read and checked
                ignore_mismatched_sizes=True,  # they are told below
                local_files_only=True,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
                **without_pooler(type(model)),
            )
    except (SafetensorError, OSError, ValueError, LookupError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{folder}: its weights cannot be read ({reason[:200]}); {WANTED}"
        ) from error
    pretrained, told = loaded
    kind = model.config.model_type
    unused = _unused(pretrained)
    missing = sorted(name for name in told["missing_keys"] if not name.startswith(unused))
    if missing:
        raise ValueError(
            f"{folder}: its weights are not its {kind}'s: {', '.join(missing[:4])} "
            f"{'is' if len(missing) == 1 else 'are'} missing; copy the folder again"
        )
    if told["mismatched_keys"]:
        odd = sorted(name for name, *_ in told["mismatched_keys"])
        raise ValueError(f"{folder}: does not fit the text encoder; differs in {odd[:4]}")
    extra = _extra(pretrained, told["unexpected_keys"])
    if extra:
        raise ValueError(
            f"{folder}: its weights are not its {kind}'s: config.json has no place for "
            f"{', '.join(extra[:4])}; copy the folder again"
        )
    odd_value = first_not_finite(pretrained.state_dict())
    if odd_value is not None:
        raise ValueError(f"{folder}: {odd_value} holds values that are not finite")
    model.load_state_dict(pretrained.state_dict())
    refused = _misbehaves(encoder)
    if refused is not None:
        raise ValueError(f"{folder}: this {kind} {refused}; {WANTED}")


@contextmanager
def _silence() -> Iterator[None]:
    """Keep transformers from reporting what `load_text` tells, and from a bar of its own."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _check_weights(folder: Path) -> None:
    """Refuse, with a ValueError, a folder without safetensors, or with quantized ones."""
    index = folder / "model.safetensors.index.json"
    files = sorted(folder.glob("model*.safetensors"))
    if index.exists() and not (folder / "model.safetensors").exists():
        files = _shards(index)
    if not files:
        pickles = sorted(folder.glob("*.bin")) + sorted(folder.glob("*.pt"))
        if not pickles:
            raise ValueError(f"{folder}: its weights cannot be read (there are none); {WANTED}")
        raise ValueError(
            f"{pickles[0]}: a pickle, which may hold code, without a model.safetensors; make "
            f"that: python -c \"from transformers import AutoModel as M; p = '{folder}'; "
            'M.from_pretrained(p).save_pretrained(p)"'
        )
    for file in files:
        try:
            with safe_open(file, "pt") as content:
                kinds = {name: content.get_slice(name).get_dtype() for name in content.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{file}: its weights cannot be read ({reason[:200]}); {WANTED}"
            ) from error
        for name, kind in kinds.items():
            if name.endswith((".weight", ".bias")) and kind not in _PRECISIONS:
                raise ValueError(
                    f"{file}: {name} is {kind}, wanted one of {', '.join(_PRECISIONS)}: its "
                    "weights are quantized; take the model they were made of"
                )


def _shards(index: Path) -> list[Path]:
    """The files that an index of weights names; ValueError if it is none, or they lie elsewhere."""
    names = read_keys(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise ValueError(
            f"{index}: wanted weight_map with a file's name for each weight; copy the model's "
            "folder again"
        )
    found = sorted(index.parent / name for name in set(names.values()))
    for file in found:
        if file.parent != index.parent or file.name in ("", ".", ".."):
            raise ValueError(f"{index}: names {file}, which is not beside it; {WANTED}")
        if not file.exists():
            raise ValueError(f"{index}: names {file.name}, which is not there; copy it again")
    return found


def _unused(model: torch.nn.Module) -> tuple[str, ...]:
    """Beginnings of the names of weights that come after the vectors."""
    return tuple(f"{name}." for name, _ in model.named_children() if name == "pooler")


def _extra(model: torch.nn.Module, unexpected: set[str]) -> list[str]:
    """The weights in the folder that lie in parts of the encoder, which has no place for them."""
    parts = tuple(f"{name}." for name, _ in model.named_children() if name != "pooler")
    prefix = f"{model.base_model_prefix}."
    # Numbers of positions and token types were kept in former files, and say nothing.
    known = ("position_ids", "token_type_ids", "._weight")
    return sorted(
        name
        for name in unexpected
        if name.removeprefix(prefix).startswith(parts) and not name.endswith(known)
    )


@torch.no_grad()
def _misbehaves(encoder: TextEncoder) -> str | None:
    """How an encoder treats a short text as none may, e.g. "reads padding"; None: it does not."""
    pad = getattr(encoder.transformer.config, "pad_token_id", None)
    known = [place for place in range(encoder.vocabulary) if place != pad]
    longest = min(12, encoder.positions or 12)
    count = min(len(known), longest - 2, 5)
    if count < 2:
        return None  # no text is short enough to be padded
    text = torch.tensor([known[:: len(known) // count][:count]])
    padded = torch.full((1, longest), pad or 0)
    padded[:, :count] = text
    other = text.clone()
    other[0, -1] = text[0, 0]
    was = encoder.training
    try:
        encoder.eval()
        alone, beside, another = (
            encoder(ids, torch.arange(ids.shape[1])[None] < count) for ids in (text, padded, other)
        )
    except Exception as error:  # every kind of layer stumbles in its own way
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return f"cannot read a short text ({reason})"
    finally:
        encoder.train(was)
    if alone.shape != (1, encoder.dim):
        return f"gives vectors of length {alone.shape[-1]}, not of its hidden_size {encoder.dim}"
    if not bool(alone.isfinite().all()):
        return "gives a short text a vector that is not finite"
    if float((alone - beside).abs().max()) > _ROUNDING * float(alone.abs().max()):
        return "gives a text another vector where padding stands beside it"
    if torch.equal(alone, another):
        return "gives a first vector that does not depend on the subwords after it"
    return None
