"""Which subwords a run reads: a local ALBERT's, or those learnt on its training split."""

from __future__ import annotations

from collections.abc import Iterable

from mesm.config.end_to_end import TextSettings
from mesm.inputs.subwords import PretrainedSubwords, Subwords, UnigramSubwords
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
    if settings.path is not None or folder.tokenizer.is_file():
        return saved_subwords(settings, folder)
    return UnigramSubwords.train(texts, settings.vocabulary)


def saved_subwords(settings: TextSettings, folder: RunFolder) -> Subwords:
    """The subwords of a run that has been started.

    Raises:
        ValueError: they are not where the run's settings say, or damaged.
    """
    try:
        if settings.path is not None:
            return PretrainedSubwords(settings.path)
        return UnigramSubwords.load(folder.tokenizer)
    except (FileNotFoundError, ValueError) as error:
        mend = "copy the folder of the text model again" if settings.path is not None else MEND
        raise ValueError(f"{folder.path}: {error}; {mend}") from error
