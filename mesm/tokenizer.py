"""Subwords: a local ALBERT's tokenizer, or a small Unigram model learnt on the training split."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch import Tensor
from transformers import AutoTokenizer

from mesm.run_folder import write_beside

PAD, UNKNOWN, CLS, SEP = "<pad>", "<unk>", "[CLS]", "[SEP]"


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Learn a Unigram model, with ALBERT's special tokens.

    Args:
        texts: the sentences of the training split.
        vocabulary: subwords at most.

    Raises:
        ValueError: there is no text to learn from.
    """
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise ValueError("no text in the training split to learn a tokenizer from")
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, UNKNOWN, CLS, SEP],
        unk_token=UNKNOWN,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    cls, sep = tokenizer.token_to_id(CLS), tokenizer.token_to_id(SEP)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}", special_tokens=[(CLS, cls), (SEP, sep)]
    )
    return tokenizer


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a local ALBERT folder, or one saved as `tokenizer.json`.

    Raises:
        ValueError: there is none, or it cannot be read.
    """
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        if file.is_file():
            return Tokenizer.from_file(str(file))
        if path.is_dir():
            return AutoTokenizer.from_pretrained(path, local_files_only=True).backend_tokenizer
    except Exception as error:
        raise ValueError(f"{path}: the tokenizer cannot be read ({error})") from error
    raise ValueError(f"{path}: no tokenizer there; wanted tokenizer.json")


def save_tokenizer(tokenizer: Tokenizer, file: Path) -> None:
    """Write the tokenizer beside its place, then rename."""
    write_beside(file, tokenizer.to_str(pretty=False))


def encode(tokenizer: Tokenizer, texts: list[str], longest: int) -> tuple[Tensor, Tensor]:
    """Subword numbers (B, T) int64 and their mask (B, T) bool, T at most `longest`.

    [CLS] and [SEP] count; longer texts are cut before [SEP].
    """
    tokenizer.enable_truncation(longest)
    rows = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    width = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.int64)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[place, : len(row)] = True
    return ids, mask
