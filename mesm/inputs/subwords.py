"""Text to subwords: a Unigram model trained here, or the tokenizer of a local pretrained model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from torch import Tensor

from mesm.inputs.unigram import learn_unigram
from mesm.runs.ordinary import check_contents, not_a_file

PAD, UNKNOWN, CLS, SEP = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
SPECIAL = [PAD, UNKNOWN, CLS, SEP]


class Subwords(Protocol):
    """A tokenizer as the models need it."""

    @property
    def vocab_size(self) -> int:
        """Number of subwords, special ones included."""

    @property
    def pad_id(self) -> int:
        """Subword that fills the ends of short texts."""

    def encode(self, texts: Sequence[str], max_length: int) -> tuple[Tensor, Tensor]:
        """Turn texts into subwords, the CLS subword first.

        Args:
            texts: B of them.
            max_length: longer texts are cut to so many subwords, special ones included.

        Returns:
            ids (B, T) int64 and mask (B, T) bool, True at subwords and False at padding, with T
            the length of the longest.
        """


class UnigramSubwords:
    """A Unigram model (Kudo, 2018) in one tokenizer.json."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        if [tokenizer.token_to_id(token) for token in SPECIAL] != list(range(len(SPECIAL))):
            raise ValueError(f"a tokenizer must begin with the subwords {', '.join(SPECIAL)}")
        self._tokenizer = tokenizer
        self.pad_id: int = SPECIAL.index(PAD)
        self.vocab_size: int = tokenizer.get_vocab_size()

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int = 4000) -> UnigramSubwords:
        """Learn the subwords of a training split; the same texts give the same subwords.

        Args:
            texts: the training texts; they are lower-cased and normalised (NFKC).
            vocab_size: at most so many subwords, special ones included.

        Raises:
            ValueError: there is no text to learn from, or vocab_size is too small.
        """
        texts = [text for text in texts if text.strip()]
        if not texts:
            raise ValueError("subwords cannot be learnt: every training text is empty")
        if vocab_size <= len(SPECIAL):
            raise ValueError(f"vocab_size must be more than {len(SPECIAL)}, got {vocab_size}")
        blank = _tokenizer(models.Unigram())
        words = Counter(
            word
            for text in texts
            for word, _ in blank.pre_tokenizer.pre_tokenize_str(
                blank.normalizer.normalize_str(text)
            )
        )
        pieces = learn_unigram(words, vocab_size - len(SPECIAL))
        vocabulary = [(token, 0.0) for token in SPECIAL] + pieces
        tokenizer = _tokenizer(models.Unigram(vocabulary, unk_id=SPECIAL.index(UNKNOWN)))
        tokenizer.add_special_tokens(SPECIAL)
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{CLS} $A {SEP}",
            special_tokens=[(CLS, SPECIAL.index(CLS)), (SEP, SPECIAL.index(SEP))],
        )
        return cls(tokenizer)

    @classmethod
    def load(cls, path: Path) -> UnigramSubwords:
        """Read a tokenizer.json written by `save`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not such a tokenizer; names the file.
        """
        if not path.is_file():
            raise FileNotFoundError(f"no tokenizer at {path}, which {not_a_file(path)}")
        content = path.read_bytes()
        with _refused(f"{path} is not a tokenizer of this project"):
            subwords = cls(Tokenizer.from_buffer(content))
            subwords.tokens("a")  # some damage shows only here
        return subwords

    def save(self, path: Path) -> None:
        """Write tokenizer.json; the file appears whole or not at all."""
        beside = path.with_name(path.name + ".tmp")
        beside.write_text(self._tokenizer.to_str(pretty=True), encoding="utf-8")
        beside.replace(path)

    def encode(self, texts: Sequence[str], max_length: int) -> tuple[Tensor, Tensor]:
        """Turn texts into subwords; see `Subwords.encode`."""
        if max_length < 2:
            raise ValueError(f"max_length must leave room for {CLS} and {SEP}, got {max_length}")
        rows = []
        for encoding in self._tokenizer.encode_batch(list(texts)):
            ids = encoding.ids
            rows.append(ids if len(ids) <= max_length else [*ids[: max_length - 1], ids[-1]])
        longest = max(map(len, rows), default=0)
        ids_tensor = torch.full((len(rows), longest), self.pad_id, dtype=torch.int64)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for i, row in enumerate(rows):
            ids_tensor[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = True
        return ids_tensor, mask

    def tokens(self, text: str) -> list[str]:
        """Give the subwords of a text as they are written, special ones included."""
        tokens: list[str] = self._tokenizer.encode(text).tokens
        return tokens


class PretrainedSubwords:
    """The tokenizer of a pretrained transformers model in a local folder."""

    def __init__(self, path: Path) -> None:
        """Load the tokenizer; nothing is fetched.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: it holds no tokenizer with CLS and padding tokens; names the folder.
        """
        if not path.is_dir():
            raise FileNotFoundError(f"no text model at {path}: a folder with its files is wanted")
        check_contents(path)
        from transformers import AutoTokenizer

        with _refused(f"{path} holds no tokenizer transformers can load"):
            self._tokenizer = AutoTokenizer.from_pretrained(str(path), local_files_only=True)
            self._tokenizer("a")  # some damage shows only here
        if self._tokenizer.cls_token_id is None or self._tokenizer.pad_token_id is None:
            raise ValueError(f"the tokenizer in {path} has no CLS or no padding token")
        self.pad_id: int = self._tokenizer.pad_token_id
        self.vocab_size: int = len(self._tokenizer)

    def encode(self, texts: Sequence[str], max_length: int) -> tuple[Tensor, Tensor]:
        """Turn texts into subwords; see `Subwords.encode`."""
        encoded = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=max_length,
            padding_side="right",
            return_tensors="pt",
        )
        return encoded["input_ids"], encoded["attention_mask"].bool()

    def tokens(self, text: str) -> list[str]:
        """Give the subwords of a text as they are written, special ones included."""
        return list(self._tokenizer.convert_ids_to_tokens(self._tokenizer(text)["input_ids"]))


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """Turn what the libraries raise of damaged files into a ValueError that begins with `what`."""
    from huggingface_hub.errors import StrictDataclassError

    known = (OSError, ValueError, LookupError, TypeError, AttributeError, StrictDataclassError)
    try:
        yield
    except BaseException as error:
        # Rust raises bare Exception; its panics derive from BaseException, and have no public name.
        rust = type(error) is Exception or type(error).__name__ == "PanicException"
        if not rust and not isinstance(error, known):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{what} ({reason[:200]})") from error


def _tokenizer(model: models.Model) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer
