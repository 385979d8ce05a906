"""The text encoder: one of transformers', pretrained from a local folder or a small new ALBERT."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Self

import torch
from torch import Tensor, nn

from mesm.config.limits import MOST, MOST_LAYERS
from mesm.inputs.text_model import encoder_config
from mesm.models.checks import check_sizes

# AlbertConfig() describes xxlarge; these are ALBERT-base's sizes.
ALBERT_BASE: dict[str, Any] = {
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
# Kinds whose attention takes a (B, 1, 1, T) mask of booleans as it is; given a (B, T) mask, the
# library would ask whether all of it is True, which waits for the device. Other kinds would read
# the former wrongly: DeBERTa wants two dimensions, and attention without sdpa would add it.
BROADCAST = frozenset(
    ("albert", "bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")
)
_POSITIVE = (
    *("vocab_size", "embedding_size", "hidden_size", "num_attention_heads", "num_hidden_layers"),
    *("intermediate_size", "max_position_embeddings", "num_hidden_groups", "inner_group_num"),
    *("dim", "hidden_dim", "n_heads", "n_layers"),
)


def text_settings(
    albert: Mapping[str, Any] | None, encoder: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    """The settings that one of two arguments of a model gives; ALBERT-base's if neither does.

    Raises:
        ValueError: both are given, or one is no mapping.
    """
    if albert is not None and encoder is not None:
        raise ValueError("a model has one text encoder: give albert or encoder, not both")
    settings = ALBERT_BASE if albert is None and encoder is None else albert or encoder
    if not isinstance(settings, Mapping):
        raise ValueError(f"a text encoder's settings are keys and values, got {settings!r}")
    return settings


def text_width(settings: Mapping[str, Any]) -> int:
    """Length of the vector that an encoder with these settings gives a text."""
    width: int = settings.get("hidden_size") or encoder_config(settings).hidden_size
    return width


def without_pooler(kind: type) -> dict[str, bool]:
    """The keyword that leaves out the layer after the vectors, which would have no gradient.

    Args:
        kind: a model of transformers; some have no such layer, and know no such keyword.
    """
    known = inspect.signature(kind).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in known else {}


class TextEncoder(nn.Module):
    """An encoder of texts; the vector of the first subword, [CLS] or <s>, stands for the text.

    Args:
        settings: of an ALBERT, or of the encoder that "model_type" names; see
            `mesm.inputs.text_model.encoder_config`.
        freeze: its weights get no gradient, and it never drops out, whatever `train` says.

    Attributes:
        positions: how many subwords a text may have; None: any number.
        skipped: the subword that has no position of its own, in kinds that count positions by
            what is no padding (RoBERTa's); else None.

    Raises:
        ValueError: a size is out of its range, or the settings make no encoder.
    """

    def __init__(self, settings: Mapping[str, Any], freeze: bool = False) -> None:
        from transformers.models.auto.modeling_auto import MODEL_MAPPING

        super().__init__()
        config = encoder_config(settings)
        _check(config)
        kind: Any = MODEL_MAPPING[type(config)]
        kind = kind[0] if isinstance(kind, tuple) else kind
        if kind.main_input_name != "input_ids":
            raise ValueError(f"TextEncoder: a {config.model_type} reads {kind.main_input_name}")
        # Named, lest the settings choose code that would have to be fetched.
        config._attn_implementation = "sdpa" if kind._supports_sdpa else "eager"
        model = kind(config, **without_pooler(kind))
        # Weights that were kept have an ALBERT's under its own name.
        self._name = "albert" if config.model_type == "albert" else "encoder"
        self.add_module(self._name, model)
        self._broadcast = config.model_type in BROADCAST
        self.positions, self.skipped = _positions(model)
        self.frozen = freeze
        if freeze:
            self.requires_grad_(False)
            self.eval()

    @property
    def transformer(self) -> Any:
        """The library's model."""
        return getattr(self, self._name)

    @property
    def dim(self) -> int:
        """Length of the text's vector."""
        width: int = self.transformer.config.hidden_size
        return width

    @property
    def vocabulary(self) -> int:
        """How many subwords the embedding knows."""
        known: int = self.transformer.config.vocab_size
        return known

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`; a frozen encoder stays as it evaluates."""
        return super().train(mode and not self.frozen)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, T) subword numbers and their bool mask, padding last, to (B, dim).

        Raises:
            ValueError: there are more subwords than positions; or, where the numbers are on the
                CPU, one is not in the vocabulary.
        """
        most = self.positions
        if ids.shape[1] < 1 or (most is not None and ids.shape[1] > most):
            wanted = "at least 1 subword" if most is None else f"1 to {most} subwords"
            raise ValueError(f"TextEncoder: texts must have {wanted}, got {ids.shape[1]}")
        # Elsewhere it would wait for the device.
        if ids.device.type == "cpu" and not torch.compiler.is_compiling():
            low, high = (int(value) for value in ids.aminmax())
            if low < 0 or high >= self.vocabulary:
                raise ValueError(
                    f"TextEncoder: subwords must be 0 to {self.vocabulary - 1}, got {low} to {high}"
                )
        if self.frozen:
            with torch.no_grad():
                return self._first_vector(ids, mask)
        return self._first_vector(ids, mask)

    def _first_vector(self, ids: Tensor, mask: Tensor) -> Tensor:
        if self._broadcast:
            return self._vectors(ids, mask[:, None, None, :])[:, 0]
        # DeBERTa masks with float32's smallest number, which lower precisions do not have.
        with torch.autocast(ids.device.type, enabled=False) if _autocast(ids) else nullcontext():
            return self._vectors(ids, mask.long())[:, 0]

    def _vectors(self, ids: Tensor, attended: Tensor) -> Tensor:
        vectors: Tensor = self.transformer(input_ids=ids, attention_mask=attended).last_hidden_state
        return vectors


def _autocast(ids: Tensor) -> bool:
    return torch.amp.is_autocast_available(ids.device.type) and torch.is_autocast_enabled(
        ids.device.type
    )


def _check(config: Any) -> None:
    """Refuse, with a ValueError, sizes that make no encoder."""
    owner = "TextEncoder"
    names: tuple[str, ...] = _POSITIVE
    if not config.model_type.startswith("deberta"):  # which may have no types of subwords
        names += ("type_vocab_size",)
    sizes = {name: getattr(config, name, None) for name in names}
    check_sizes(owner, **{name: size for name, size in sizes.items() if size is not None})
    for name, number in config.to_dict().items():
        most = MOST_LAYERS if "layer" in name or name == "inner_group_num" else MOST
        if isinstance(number, int) and number > most:
            raise ValueError(f"{owner}: {name} must be at most {most}, got {number}")
    pad = getattr(config, "pad_token_id", None)
    if pad is not None and not 0 <= pad < config.vocab_size:
        raise ValueError(f"{owner}: pad_token_id must be 0 to {config.vocab_size - 1}, got {pad}")
    groups = getattr(config, "num_hidden_groups", 1)
    if groups > config.num_hidden_layers:
        raise ValueError(f"{owner}: {config.num_hidden_layers} layers cannot be in {groups} groups")
    if config.hidden_size % getattr(config, "num_attention_heads", 1):
        raise ValueError(
            f"{owner}: hidden_size must be divisible by num_attention_heads = "
            f"{config.num_attention_heads}, got {config.hidden_size}"
        )


def _positions(model: nn.Module) -> tuple[int | None, int | None]:
    """How many subwords a model has positions for, and the subword that positions skip."""
    bound = getattr(model.config, "max_position_embeddings", None)
    for name, module in model.named_modules():
        if not name.endswith("position_embeddings") or not isinstance(module, nn.Embedding):
            continue
        # RoBERTa's positions begin after that of the padding: 512 of 514.
        skipped = module.padding_idx
        if skipped is not None:
            return module.num_embeddings - skipped - 1, skipped
    return bound, None
