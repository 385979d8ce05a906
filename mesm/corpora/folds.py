"""Folds of a prepared corpus: other splits of the same clips, made while they are read.

Nothing is prepared again. A unit (a speaker, a dialog, a session) is in one split alone, and which
one follows from the clips' names and the settings: it depends neither on the corpus' own split nor
on the order of its files.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from mesm.config.fold import FoldSettings, FoldsSettings, Unit
from mesm.corpora.manifest import LEAST_STD, SplitCounts
from mesm.corpora.prepared import ClipList, PreparedCorpus
from mesm.corpora.splits import SPLITS, shuffled

_SESSION = re.compile(r"Ses\d{2}")
# Per column the mean and the standard deviation.
Statistic = tuple[list[float], list[float]]


def units_of(corpus: PreparedCorpus, by: Unit) -> list[str]:
    """The unit of each clip, in the order of the corpus' own splits: train, valid, test.

    Raises:
        ValueError: the corpus has no such units; says which it has.
    """
    splits = [corpus.split(name) for name in SPLITS]
    dialogs = [dialog for clips in splits for dialog in clips.dialogs]
    if by == "dialog":
        return dialogs
    speakers = [speaker for clips in splits for speaker in clips.speakers]
    if by == "speaker":
        return speakers
    odd = next((dialog for dialog in dialogs if not _SESSION.match(dialog)), None)
    if odd is not None or not dialogs:
        raise ValueError(
            f"fold.by=session: {corpus.path} has no sessions, which IEMOCAP has (Ses01 to Ses05): "
            f"one of its dialogs is {odd!r}; it has {len(set(speakers))} speakers "
            f"(fold.by=speaker) and {len(set(dialogs))} dialogs (fold.by=dialog)"
        )
    return [dialog[:5] for dialog in dialogs]


def cut(sizes: Mapping[str, int], k: int | None, seed: int) -> list[list[str]]:
    """The units of each fold; every unit is in one fold, and no fold is empty.

    Without `k` each unit is a fold, by name. Else the units go, in an order that a hash of their
    names and the seed gives, each into the fold that has the fewest clips yet: the largest fold has
    at most one unit's clips more than the smallest.

    Args:
        sizes: unit to its number of clips, at least 1.
        k: folds; None: one per unit.
        seed: of the order.

    Raises:
        ValueError: fewer than three units, as training, validation and test each need one; or
            fewer than k.
    """
    if len(sizes) < max(len(SPLITS), k or 0):
        raise ValueError(
            f"wanted at least {max(len(SPLITS), k or 0)} for "
            f"{f'{k} folds' if k else 'a training, a validation and a test split'}, got "
            f"{len(sizes)}: {_some(sorted(sizes))}"
        )
    if k is None:
        return [[unit] for unit in sorted(sizes)]
    folds: list[list[str]] = [[] for _ in range(k)]
    clips = [0] * k
    for unit in shuffled(sizes, seed):
        place = clips.index(min(clips))
        folds[place].append(unit)
        clips[place] += sizes[unit]
    return [sorted(fold) for fold in folds]


def choose_valid(
    sizes: Mapping[str, int], test: Sequence[str], share: float, seed: int
) -> list[str]:
    """The units that validate where some others are tested on.

    The units stand in a circle, in the order of `cut`, and are asked from behind the first one that
    is tested on. The first that is not far too large is taken: at most twice the wanted clips, or
    twice an average unit. Then each that brings the number of clips nearer to the share.

    Args:
        sizes: unit to its number of clips.
        test: the units that are tested on; at least two others are left.
        share: of the others' clips that is wanted, at most 0.5.
        seed: of the order.

    Raises:
        ValueError: fewer than two units are left.
    """
    ranked = shuffled(sizes, seed)
    first = min(ranked.index(unit) for unit in test)
    rest = [unit for unit in ranked[first:] + ranked[:first] if unit not in set(test)]
    if len(rest) < 2:
        raise ValueError(
            f"a fold of {_some(test)} leaves {len(rest)} to train and to validate on, wanted at "
            "least 2; take more folds"
        )
    clips = sum(sizes[unit] for unit in rest)
    wanted, most = share * clips, 2 * max(share * clips, clips / len(rest))
    taken: list[str] = []
    count = 0
    for unit in rest:
        size = sizes[unit]
        if (size <= most) if not taken else abs(count + size - wanted) < abs(count - wanted):
            taken.append(unit)
            count += size
    return sorted(taken)


def folds_of(corpus: PreparedCorpus, folds: FoldsSettings) -> list[list[str]]:
    """The units of each fold of a corpus; errors as of `units_of` and `cut`."""
    return _cut(corpus, folds, Counter(units_of(corpus, folds.by)))


def _cut(corpus: PreparedCorpus, folds: FoldsSettings, sizes: Mapping[str, int]) -> list[list[str]]:
    try:
        return cut(sizes, folds.k, folds.seed)
    except ValueError as error:
        k = "" if folds.k is None else f", k={folds.k}"
        raise ValueError(f"folds of {corpus.path} by {folds.by}{k}: {error}") from None


class FoldedCorpus(PreparedCorpus):
    """A prepared corpus with the splits of a fold.

    Clips of a split come in the order of the corpus' files: its own training, validation and test
    clips. The manifest's counts and options are the fold's; its spectrogram_mean and _std, which
    are of the corpus' own training split, are no numbers any more: `sound_figures` has the fold's.

    Args:
        corpus: with its own splits.
        fold: which fold.
        statistics: by name, those that a run has kept; others are computed when asked for.

    Raises:
        ValueError: the corpus has no such units or too few, there are fewer folds, or no clip of
            the training split carries some emotion.
    """

    fold: FoldSettings

    def __init__(
        self,
        corpus: PreparedCorpus,
        fold: FoldSettings,
        statistics: Mapping[str, Statistic] | None = None,
    ) -> None:
        units = units_of(corpus, fold.by)
        sizes = Counter(units)
        self.folds = _cut(corpus, fold, sizes)
        if fold.index > len(self.folds):
            raise ValueError(
                f"fold.index must be 1 to {len(self.folds)}, the folds of {corpus.path} by "
                f"{fold.by}, got {fold.index}"
            )
        test = self.folds[fold.index - 1]
        valid = choose_valid(sizes, test, fold.valid, fold.seed)
        train = sorted(sizes.keys() - {*test, *valid})
        self.units = {"train": train, "valid": valid, "test": test}
        place = {unit: split for split, own in self.units.items() for unit in own}
        self._chosen: dict[str, list[int]] = {split: [] for split in SPLITS}
        for number, unit in enumerate(units):
            self._chosen[place[unit]].append(number)
        self._own = [corpus.split(name) for name in SPLITS]
        self._statistics = dict(statistics or {})
        self.fold = fold
        super().__init__(corpus.path, corpus.manifest)
        counts = self._counts()
        lacking = [name for name, count in counts["train"].labels.items() if not count]
        if lacking:
            raise ValueError(
                f"fold {fold.index} of {len(self.folds)} by {fold.by} of {corpus.path}: no clip of "
                f"its training split is {' or '.join(lacking)}, which cannot be learnt then; take "
                "other folds, such as fewer or by smaller units"
            )
        about = {"by": fold.by, "index": fold.index, "folds": len(self.folds), "test": test}
        self.manifest = corpus.manifest.model_copy(
            update={
                "counts": counts,
                "options": {**corpus.manifest.options, "split": "fold", "fold": about},
                "spectrogram_mean": math.nan,
                "spectrogram_std": math.nan,
            }
        )

    def split(self, name: str) -> ClipList:
        """Give the fold's clips of "train", "valid" or "test"."""
        if name not in SPLITS:
            return super().split(name)
        if name not in self._splits:
            files = [
                self.path / file
                for split in SPLITS
                for file in sorted(self.manifest.files)
                if file.rpartition("/")[2].startswith(f"{split}-")
            ]
            self._splits[name] = ClipList(files, name, self._chosen[name])
        return self._splits[name]

    @property
    def sound_figures(self) -> tuple[float, float]:
        """Mean and standard deviation of the fold's training split's spectrograms."""
        means, stds = self.statistic("spectrogram", self._sound)
        return means[0], stds[0]

    def statistic(self, name: str, compute: Callable[[], Statistic]) -> Statistic:
        """A statistic of the fold's training split: the one kept under a name, or else computed."""
        if name not in self._statistics:
            self._statistics[name] = compute()
        return self._statistics[name]

    @cached_property
    def identity(self) -> dict[str, str]:
        """Hashes by which the same fold of the same corpus is known again, wherever it lies."""
        lines = []
        ids = [clip for clips in self._own for clip in clips.clip_ids]
        labels = np.concatenate([clips.labels for clips in self._own if len(clips)])
        for split in SPLITS:
            lines += [f"{split} {ids[i]} {labels[i].tolist()}" for i in self._chosen[split]]
        return {
            "files": _hash(sorted(self.manifest.files.items())),
            "clips": _hash([self.manifest.emotions, sorted(lines)]),
        }

    def describe(self) -> dict[str, Any]:
        """The content of a run's fold.json."""
        return {
            "fold": self.fold.model_dump(mode="json"),
            "folds": len(self.folds),
            "units": self.units,
            "clips": {split: len(own) for split, own in self._chosen.items()},
            "identity": self.identity,
            "statistics": self._statistics,
        }

    def _counts(self) -> dict[str, SplitCounts]:
        emotions = self.manifest.emotions
        labels = np.concatenate([clips.labels for clips in self._own if len(clips)])
        return {
            split: SplitCounts(
                clips=len(own),
                labels=dict(zip(emotions, labels[own].sum(0).tolist(), strict=True)),
                no_emotion=int((labels[own].sum(1) == 0).sum()),
            )
            for split, own in self._chosen.items()
        }

    def _sound(self) -> Statistic:
        """As the manifest's are computed (`mesm.corpora.assembly`)."""
        count, total, squares = 0, 0.0, 0.0
        for spectrogram in self.split("train").spectrograms():
            values = spectrogram.astype(np.float64)
            count += values.size
            total += float(values.sum())
            squares += float(np.square(values).sum())
        if not count:  # there is no sound
            return [0.0], [1.0]
        mean = total / count
        std = math.sqrt(max(squares / count - mean * mean, 0.0))
        if not (math.isfinite(std) and std >= LEAST_STD):
            raise ValueError(
                f"fold {self.fold.index} of {self.path}: the training split's sound is all the "
                f"same (a standard deviation of {std}), and nothing can be learnt of it"
            )
        return [mean], [std]


def _hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more
