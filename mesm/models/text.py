"""The text encoder: transformers' ALBERT, pretrained from a local folder or small from scratch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

# transformers, which takes a second to import, is imported where it is needed.

# AlbertConfig() describes xxlarge; these are ALBERT-base's sizes.
ALBERT_BASE: dict[str, Any] = {
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}


def read_albert_config(folder: Path) -> dict[str, Any]:
    """The keyword arguments of the `AlbertConfig` that a local ALBERT folder holds.

    Raises:
        ValueError: the folder holds no ALBERT.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise ValueError(
            f"{folder}: no config.json there; model.text.path wants a folder with an ALBERT "
            "(config.json, model.safetensors, tokenizer.json)"
        )
    found = json.loads(file.read_text())
    if found.get("model_type") != "albert":
        raise ValueError(f"{file}: wanted model_type 'albert', got {found.get('model_type')!r}")
    from transformers import AlbertConfig

    return AlbertConfig(**found).to_diff_dict()


class TextEncoder(nn.Module):
    """ALBERT; the vector of the first subword, [CLS], stands for the text.

    Args:
        albert: keyword arguments of `transformers.AlbertConfig`.
    """

    def __init__(self, albert: dict[str, Any]) -> None:
        from transformers import AlbertConfig, AlbertModel

        super().__init__()
        config = AlbertConfig(**albert)
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
            ValueError: its sizes are not this encoder's.
        """
        from transformers import AlbertModel

        pretrained = AlbertModel.from_pretrained(
            folder, add_pooling_layer=False, local_files_only=True, use_safetensors=True
        )
        wanted = {name: value.shape for name, value in self.albert.state_dict().items()}
        found = {name: value.shape for name, value in pretrained.state_dict().items()}
        if wanted != found:
            odd = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
            raise ValueError(f"{folder}: does not fit the text encoder; differs in {odd[:4]}")
        self.albert.load_state_dict(pretrained.state_dict())

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, T) subword numbers and their bool mask to (B, dim)."""
        # The library would test whether a (B, T) mask is all True, which waits for the device.
        attended = mask[:, None, None, :]
        return self.albert(input_ids=ids, attention_mask=attended).last_hidden_state[:, 0]
