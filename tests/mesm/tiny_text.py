"""Small pretrained encoders of texts in local folders, weights at random, with their tokenizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = ("i", "you", "we", "am", "are", "feel", "happy", "sad", "so", "not", "the", "word")
VOCABULARY = 20  # as published ones, a little more than the tokenizer has
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 12,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 64,
}
_DEBERTA: dict[str, Any] = {
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "position_biased_input": False,
    "type_vocab_size": 0,
    "max_relative_positions": 8,
    "pooler_hidden_size": 12,
}
# The settings of each kind that is promised, as its published models have them; MiniLM is a BERT.
KINDS: dict[str, dict[str, Any]] = {
    "albert": _SIZES | {"embedding_size": 8},
    "bert": _SIZES,
    "roberta": _SIZES | {"pad_token_id": 1, "type_vocab_size": 1},
    "distilbert": {
        **{"vocab_size": VOCABULARY, "dim": 12, "n_heads": 2, "n_layers": 2, "hidden_dim": 16},
        "max_position_embeddings": 64,
    },
    "deberta": _SIZES | _DEBERTA,
    "deberta-v2": _SIZES | _DEBERTA | {"conv_kernel_size": 3, "share_att_key": True},
    "electra": _SIZES | {"embedding_size": 8},
}


def make_model(kind: str, **changes: Any) -> Any:
    """A model of a kind, whose weights are far from those that a new one has."""
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(sum(map(ord, kind)))
    model = AutoModel.from_config(AutoConfig.for_model(kind, **KINDS[kind] | changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def make_tokenizer(kind: str) -> Tokenizer:
    """Words and, before and after them, the special subwords that a kind has."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    if kind == "roberta":
        special = ["<s>", "<pad>", "</s>", "<unk>"]
    pad, unknown, first, last = special if kind != "roberta" else [special[i] for i in (1, 3, 0, 2)]
    known = {word: place for place, word in enumerate((*special, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token=unknown))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(one, known[one]) for one in (first, last)]
    )
    assert tokenizer.token_to_id(pad) == (1 if kind == "roberta" else 0)
    return tokenizer


def write_tokenizer(folder: Path, kind: str = "bert", **changes: Any) -> Path:
    """Write a kind's tokenizer as transformers does; `changes` are special tokens and the like."""
    from transformers import PreTrainedTokenizerFast

    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    if kind == "roberta":
        names = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>"}
        names["sep_token"] = "</s>"
    PreTrainedTokenizerFast(
        tokenizer_object=make_tokenizer(kind), **names | changes
    ).save_pretrained(folder)
    return folder


def write_text_model(folder: Path, kind: str, **changes: Any) -> Path:
    """Write a model of a kind with its tokenizer."""
    make_model(kind, **changes).save_pretrained(folder)
    return write_tokenizer(folder, kind)
