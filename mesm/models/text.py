"""The text encoder: transformers' ALBERT, pretrained from a local folder or small from scratch."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mesm.config.limits import MOST_LAYERS
from mesm.models.checks import check_sizes
from mesm.runs.finite import first_not_finite
from mesm.runs.ordinary import check_contents, ordinary

# transformers, which takes a second to import, is imported where it is needed.

# AlbertConfig() describes xxlarge; these are ALBERT-base's sizes.
ALBERT_BASE: dict[str, Any] = {
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}

_WANTED = (
    "model.text.path wants a folder with an ALBERT (config.json, model.safetensors, tokenizer.json)"
)


def read_albert_config(folder: Path) -> dict[str, Any]:
    """The keyword arguments of the `AlbertConfig` that a local ALBERT folder holds.

    Raises:
        ValueError: the folder holds no ALBERT, or its config.json is damaged.
    """
    file = folder / "config.json"
    if not file.exists():
        raise ValueError(f"{folder}: no config.json there; {_WANTED}")
    from huggingface_hub.errors import StrictDataclassError

    from mesm.runs.files import finite_json  # brings pydantic, without which a step can do

    check_contents(folder)
    try:
        found = finite_json(ordinary(file).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not JSON ({error}); copy the ALBERT's folder again") from error
    kind = found.get("model_type") if isinstance(found, dict) else type(found).__name__
    if kind != "albert":
        raise ValueError(f"{file}: wanted model_type 'albert', got {kind!r}")
    from transformers import AlbertConfig
    from transformers.activations import ACT2FN

    try:
        config = AlbertConfig(**found)
        if config.hidden_act not in ACT2FN:
            raise ValueError(f"hidden_act is {config.hidden_act!r}")
        return config.to_diff_dict()
    except (ValueError, TypeError, LookupError, AttributeError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{file}: not an ALBERT's settings ({reason[:200]})") from error


class TextEncoder(nn.Module):
    """ALBERT; the vector of the first subword, [CLS], stands for the text.

    Args:
        albert: keyword arguments of `transformers.AlbertConfig`.

    Raises:
        ValueError: a size is not positive, or the heads do not divide the width.
    """

    def __init__(self, albert: dict[str, Any]) -> None:
        from transformers import AlbertConfig, AlbertModel

        super().__init__()
        config = AlbertConfig(**albert)
        check_sizes(
            "TextEncoder",
            **{
                name: getattr(config, name)
                for name in (
                    *("vocab_size", "embedding_size", "hidden_size", "num_attention_heads"),
                    *("num_hidden_layers", "intermediate_size", "max_position_embeddings"),
                    *("type_vocab_size", "num_hidden_groups", "inner_group_num"),
                )
            },
        )
        for name in ("num_hidden_layers", "inner_group_num"):
            number = getattr(config, name)
            if number > MOST_LAYERS:
                raise ValueError(f"TextEncoder: {name} must be at most {MOST_LAYERS}, got {number}")
        pad = config.pad_token_id
        if pad is not None and not 0 <= pad < config.vocab_size:
            raise ValueError(
                f"TextEncoder: pad_token_id must be 0 to {config.vocab_size - 1}, got {pad}"
            )
        if config.num_hidden_groups > config.num_hidden_layers:
            raise ValueError(
                f"TextEncoder: {config.num_hidden_layers} layers cannot be in "
                f"{config.num_hidden_groups} groups"
            )
        if config.hidden_size % config.num_attention_heads:
            raise ValueError(
                "TextEncoder: hidden_size must be divisible by num_attention_heads = "
                f"{config.num_attention_heads}, got {config.hidden_size}"
            )
        config._attn_implementation = "sdpa"  # takes a mask of booleans
        self.albert = AlbertModel(config, add_pooling_layer=False)

    @property
    def dim(self) -> int:
        """Length of the text's vector."""
        return self.albert.config.hidden_size

    @property
    def vocabulary(self) -> int:
        """How many subwords the embedding knows."""
        return self.albert.config.vocab_size

    def load(self, folder: Path) -> None:
        """Take the weights of the ALBERT in a local folder.

        Raises:
            ValueError: it cannot be read, is not whole or not finite, or its sizes are not this
                encoder's.
        """
        from transformers import AlbertModel

        check_contents(folder)
        try:
            loaded: Any = AlbertModel.from_pretrained(
                folder,
                config=copy.deepcopy(self.albert.config),  # config.json has been read and checked
                ignore_mismatched_sizes=True,  # they are told below
                add_pooling_layer=False,
                local_files_only=True,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
            )
        except (SafetensorError, OSError, ValueError, LookupError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{folder}: its weights cannot be read ({reason[:200]}); {_WANTED}"
            ) from error
        pretrained, told = loaded
        missing = sorted(told["missing_keys"])
        if missing:
            raise ValueError(
                f"{folder}: model.safetensors is not its ALBERT's: {', '.join(missing[:4])} "
                f"{'is' if len(missing) == 1 else 'are'} missing"
            )
        if told["mismatched_keys"]:
            odd = sorted(name for name, *_ in told["mismatched_keys"])
            raise ValueError(f"{folder}: does not fit the text encoder; differs in {odd[:4]}")
        odd_value = first_not_finite(pretrained.state_dict())
        if odd_value is not None:
            raise ValueError(f"{folder}: {odd_value} holds values that are not finite")
        self.albert.load_state_dict(pretrained.state_dict())

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, T) subword numbers and their bool mask to (B, dim).

        Raises:
            ValueError: there are more subwords than positions; or, where the numbers are on the
                CPU, one is not in the vocabulary.
        """
        positions = self.albert.config.max_position_embeddings
        if not 1 <= ids.shape[1] <= positions:
            raise ValueError(
                f"TextEncoder: texts must have 1 to {positions} subwords, got {ids.shape[1]}"
            )
        # Elsewhere it would wait for the device.
        if ids.device.type == "cpu" and not torch.compiler.is_compiling():
            low, high = (int(value) for value in ids.aminmax())
            if low < 0 or high >= self.vocabulary:
                raise ValueError(
                    f"TextEncoder: subwords must be 0 to {self.vocabulary - 1}, got {low} to {high}"
                )
        # The library would test whether a (B, T) mask is all True, which waits for the device.
        attended = mask[:, None, None, :]
        return self.albert(input_ids=ids, attention_mask=attended).last_hidden_state[:, 0]
