"""Which subwords a run reads: a pretrained model's, or those learnt on its training split."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mesm.config.end_to_end import TextSettings
from mesm.inputs.subwords import PretrainedSubwords, Subwords, UnigramSubwords
from mesm.inputs.text_model import read_text_model
from mesm.runs.checkpoints import MEND
from mesm.runs.folder import RunFolder


def choose_subwords(settings: TextSettings, folder: RunFolder, texts: Iterable[str]) -> Subwords:
    """The subwords for a training: those the run has, or else the settings ask for.

    Args:
        settings: where a pretrained text encoder is, or how many subwords are learnt.
        folder: the run.
        texts: of the training split.

    Raises:
        ValueError: a tokenizer cannot be read, or there is no text to learn from.
    """
    if settings.path is not None:
        # A tokenizer in the folder may be that of a start with another model, which was killed.
        subwords = _pretrained_subwords(settings.path, folder)
        try:
            subwords.encode(["a"], settings.max_length)
        except ValueError as error:
            raise ValueError(
                f"model.text.max_length is too small for {settings.path}: {error}"
            ) from error
        return subwords
    if folder.tokenizer.is_file():
        return saved_subwords(settings, folder)
    return UnigramSubwords.train(texts, settings.vocabulary)


def saved_subwords(settings: TextSettings, folder: RunFolder) -> Subwords:
    """The subwords of a run that has been started.

    Raises:
        ValueError: they are not there, or damaged.
    """
    # Earlier runs kept no tokenizer of a pretrained model.
    if settings.path is not None and not folder.tokenizer.exists():
        return _pretrained_subwords(settings.path, folder)
    try:
        if settings.path is not None:
            return PretrainedSubwords.load(folder.tokenizer)
        return UnigramSubwords.load(folder.tokenizer)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{folder.path}: {error}; {MEND}") from error


def _pretrained_subwords(path: Path, folder: RunFolder) -> PretrainedSubwords:
    try:
        read_text_model(path)  # tells what is no encoder before its tokenizer is looked at
        return PretrainedSubwords.from_model(path)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{folder.path}: {error}") from error
