"""Text to subwords: a Unigram model trained here, or the tokenizer of a local pretrained model."""

from __future__ import annotations

import json
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
from mesm.runs.ordinary import check_contents, naming, not_a_file

PAD, UNKNOWN, CLS, SEP = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
SPECIAL = [PAD, UNKNOWN, CLS, SEP]
# A kept tokenizer says from which side texts are cut; to how many subwords, each call says.
_CUT = 512


class Subwords(Protocol):
    """A tokenizer as the models need it."""

    @property
    def vocab_size(self) -> int:
        """Number of subwords, special ones included."""

    @property
    def pad_id(self) -> int:
        """Subword that fills the ends of short texts."""

    def save(self, path: Path) -> None:
        """Write tokenizer.json; the file appears whole or not at all."""

    def encode(self, texts: Sequence[str], max_length: int) -> tuple[Tensor, Tensor]:
        """Turn texts into subwords, a special one such as [CLS] first.

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
        return cls(_of_subwords(vocabulary))

    @classmethod
    def load(cls, path: Path) -> UnigramSubwords:
        """Read a tokenizer.json written by `save`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not such a tokenizer; names the file.
        """
        with _refused(f"{path} is not a tokenizer of this project"):
            tokenizer = _read(path)
            _check_own(tokenizer)
            subwords = cls(tokenizer)
            subwords.tokens("a")  # some damage shows only here
        return subwords

    def save(self, path: Path) -> None:
        """Write tokenizer.json; the file appears whole or not at all."""
        _save(self._tokenizer, path)

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
    """The tokenizer of a pretrained transformers model, in one tokenizer.json."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Take a tokenizer whose own padding and truncation say how texts are padded and cut.

        Raises:
            ValueError: it has no padding, or texts do not begin with one special subword.
        """
        if tokenizer.padding is None or tokenizer.truncation is None:
            raise ValueError("it does not say how texts are padded and cut")
        self._tokenizer = tokenizer
        self.pad_id: int = tokenizer.padding["pad_id"]
        self._side: str = tokenizer.truncation["direction"]
        # Numbers may have gaps.
        self.vocab_size: int = 1 + max(tokenizer.get_vocab().values(), default=-1)
        special = {
            number
            for number, token in tokenizer.get_added_tokens_decoder().items()
            if token.special
        }
        firsts = {tuple(tokenizer.encode(text).ids[:1]) for text in ("a", "The weather is fine.")}
        if len(firsts) > 1 or not special.issuperset(next(iter(firsts))):
            raise ValueError(
                "texts do not begin with one special subword such as [CLS] or <s>, whose vector "
                "would stand for the text"
            )
        if not 0 <= self.pad_id < self.vocab_size:
            raise ValueError(f"it pads with subword {self.pad_id} of {self.vocab_size}")
        if self.vocab_size <= len(special):
            raise ValueError("it knows special subwords alone")

    @classmethod
    def from_model(cls, folder: Path) -> PretrainedSubwords:
        """Load the tokenizer from a model's local folder; nothing is fetched.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: it holds no tokenizer that does; names the folder.
        """
        if not folder.is_dir():
            raise FileNotFoundError(f"no text model at {folder}: a folder with its files is wanted")
        check_contents(folder)
        _check_tokenizer_files(folder)
        from transformers import AutoTokenizer

        with _refused(f"{folder} holds no tokenizer transformers can load", _mend(folder)):
            theirs = AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
            theirs("a")  # some damage shows only here
            pad_id, pad_token, side = theirs.pad_token_id, theirs.pad_token, theirs.truncation_side
        if pad_id is None:
            raise ValueError(
                f"the tokenizer in {folder} has no padding subword; name one as pad_token in its "
                "tokenizer_config.json"
            )
        if not theirs.is_fast:
            raise ValueError(
                f"the {type(theirs).__name__} in {folder} is none that a tokenizer.json holds"
            )
        tokenizer: Tokenizer = theirs.backend_tokenizer
        tokenizer.enable_padding(pad_id=pad_id, pad_token=pad_token)
        tokenizer.enable_truncation(_CUT, direction=side)
        with _refused(f"the tokenizer in {folder} does not do", "; take another model"):
            return cls(tokenizer)

    @classmethod
    def load(cls, path: Path) -> PretrainedSubwords:
        """Read a tokenizer.json written by `save`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not such a tokenizer; names the file.
        """
        with _refused(f"{path} is not a tokenizer of this project"):
            return cls(_read(path))

    def save(self, path: Path) -> None:
        """Write tokenizer.json; the file appears whole or not at all."""
        self._tokenizer.enable_truncation(_CUT, direction=self._side)
        _save(self._tokenizer, path)

    def encode(self, texts: Sequence[str], max_length: int) -> tuple[Tensor, Tensor]:
        """Turn texts into subwords; see `Subwords.encode`."""
        least = self._tokenizer.num_special_tokens_to_add(False)
        if max_length < least:  # the library would not cut at all
            raise ValueError(f"max_length must leave room for {least} subwords, got {max_length}")
        self._tokenizer.enable_truncation(max_length, direction=self._side)
        encoded = self._tokenizer.encode_batch(list(texts))
        ids = torch.tensor([encoding.ids for encoding in encoded], dtype=torch.int64)
        mask = torch.tensor([encoding.attention_mask for encoding in encoded], dtype=torch.bool)
        return ids, mask

    def tokens(self, text: str) -> list[str]:
        """Give the subwords of a text as they are written, special ones included."""
        self._tokenizer.no_truncation()
        tokens: list[str] = self._tokenizer.encode(text).tokens
        return tokens


def _read(path: Path) -> Tokenizer:
    if not path.is_file():
        raise FileNotFoundError(f"no tokenizer at {path}, which {not_a_file(path)}")
    return Tokenizer.from_buffer(path.read_bytes())


# The parts of a tokenizer.json that are the same for all vocabularies that are learnt here.
_OWN = ("normalizer", "pre_tokenizer", "post_processor", "truncation", "padding", "added_tokens")


def _check_own(tokenizer: Tokenizer) -> None:
    """Refuse, with a ValueError, a tokenizer that does more with texts than those learnt here."""
    vocabulary = [(token, 0.0) for token in SPECIAL]
    found, wanted = (json.loads(one.to_str()) for one in (tokenizer, _of_subwords(vocabulary)))
    other = [name for name in _OWN if found[name] != wanted[name]]
    kinds = [(one["model"]["type"], one["model"].get("unk_id")) for one in (found, wanted)]
    other += ["model"] if kinds[0] != kinds[1] else []
    if other:
        raise ValueError(f"its {' and '.join(other)} is of another kind")


def _save(tokenizer: Tokenizer, path: Path) -> None:
    beside = path.with_name(path.name + ".tmp")
    try:
        with naming(path):
            beside.write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
            beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _check_tokenizer_files(folder: Path) -> None:
    """Refuse, with a ValueError, a folder of whose tokenizer transformers would make up a part."""
    names = {place.name for place in folder.iterdir()}
    if "tokenizer.json" in names:
        return
    if "vocab.json" in names and "merges.txt" not in names:
        raise ValueError(f"{folder} holds no tokenizer: merges.txt is missing beside vocab.json")
    vocabulary = folder / "vocab.txt"
    if vocabulary.name in names and b"" in vocabulary.read_bytes().splitlines():
        raise ValueError(
            f"{vocabulary} is damaged: a line without a subword; copy the model's folder again"
        )
    known = ("vocab.txt", "vocab.json")
    if names.isdisjoint(known) and not any(name.endswith(".model") for name in names):
        raise ValueError(
            f"{folder} holds no tokenizer (tokenizer.json, or vocab.txt, or vocab.json and "
            "merges.txt); copy the model's folder again"
        )


def _mend(folder: Path) -> str:
    """How to mend a tokenizer that cannot be loaded, to be put after the reason."""
    models = sorted(folder.glob("*.model"))
    if (folder / "tokenizer.json").exists() or not models:
        return "; copy the model's folder again"
    return (
        f"; make a tokenizer.json of {models[0].name}: pip install sentencepiece, then python -c "
        f"\"from transformers import AutoTokenizer as T; p = '{folder}'; "
        'T.from_pretrained(p).save_pretrained(p)"'
    )


@contextmanager
def _refused(what: str, mend: str = "") -> Iterator[None]:
    """Turn what the libraries raise of damaged files into a ValueError.

    Its message begins with `what` and ends with `mend`. That a file is not there is left as it is.
    """
    from huggingface_hub.errors import StrictDataclassError

    known = (
        *(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError),
        StrictDataclassError,
    )
    try:
        yield
    except FileNotFoundError:
        raise
    except BaseException as error:
        # Rust raises bare Exception; its panics derive from BaseException, and have no public name.
        rust = type(error) is Exception or type(error).__name__ == "PanicException"
        if not rust and not isinstance(error, known):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{what} ({reason[:200]}){mend}") from error


def _of_subwords(vocabulary: list[tuple[str, float]]) -> Tokenizer:
    """A tokenizer of subwords and their log probabilities, of which the special ones are first."""
    tokenizer = _tokenizer(models.Unigram(vocabulary, unk_id=SPECIAL.index(UNKNOWN)))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}",
        special_tokens=[(CLS, SPECIAL.index(CLS)), (SEP, SPECIAL.index(SEP))],
    )
    return tokenizer


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
