"""How a system reads a corpus: what its samples and batches are, and what its runs must keep."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesm.config.baselines import TwoPhaseSettings
from mesm.config.end_to_end import FE2ESettings
from mesm.config.modalities import Modality
from mesm.corpora.prepared import PreparedCorpus
from mesm.data.clips import ClipDataset, Collate, SplitDataset, split_dataset
from mesm.data.features import FeatureDataset, Limits, collate_features
from mesm.data.preprocessing import Preprocessing
from mesm.data.text_choice import choose_subwords, saved_subwords
from mesm.features.manifest import FILE
from mesm.features.store import FeatureStore
from mesm.inputs.subwords import Subwords, UnigramSubwords
from mesm.runs.checkpoints import MEND
from mesm.runs.folder import RunFolder
from mesm.runs.hashes import sha256


class Feed(ABC):
    """The samples and batches that a system reads from a prepared corpus.

    A training calls `start` before it collates, builds a model or writes; a trained run is opened
    with `reopen` instead.

    Args:
        corpus: the prepared corpus.
        folder: of the run, which may not be there yet.
    """

    def __init__(self, corpus: PreparedCorpus, folder: RunFolder) -> None:
        self.corpus, self.folder = corpus, folder

    @abstractmethod
    def dataset(self, split: str, *, augment: bool = False, seed: int = 0) -> SplitDataset:
        """The samples of a split in corpus order; ValueError if it holds none."""

    @abstractmethod
    def single(self, clip_id: str) -> SplitDataset:
        """One clip of any split; ValueError if the corpus has no such clip."""

    @property
    @abstractmethod
    def collate(self) -> Callable[[list[Any]], Any]:
        """Samples to a batch."""

    @abstractmethod
    def check(self) -> None:
        """Refuse, with a ValueError, a run that was started on other inputs; the corpus aside."""

    @abstractmethod
    def start(self, train_set: SplitDataset) -> None:
        """Take what the run has kept, or learn it from the training split."""

    @abstractmethod
    def reopen(self) -> None:
        """Take what a trained run has kept; ValueError if it is not there."""

    def check_model(self, arguments: Mapping[str, Any]) -> None:
        """Refuse, with a ValueError, a trained model that these inputs do not fit.

        Args:
            arguments: what the model was made with.
        """
        emotions = len(self.corpus.manifest.emotions)
        if arguments["emotions"] != emotions:
            raise ValueError(
                f"{self.corpus.path}: has {emotions} emotions, the model of {self.folder.path} "
                f"tells {arguments['emotions']} apart"
            )

    def sizes(self) -> dict[str, int]:
        """A model's sizes follow from these: "emotions", and more as the system reads."""
        return {"emotions": len(self.corpus.manifest.emotions)}

    def emotion_vectors(self) -> NDArray[np.float32] | None:
        """Word vectors (E, 300) of the emotions' names; None: the system reads no word vectors."""
        return None

    @abstractmethod
    def write(self) -> None:
        """Keep in the run's folder all that reading the corpus again in the same way needs."""

    def facts(self) -> dict[str, Any]:
        """The facts about the inputs that a table of results must state."""
        return {}


class EndToEndFeed(Feed):
    """Faces, spectrograms and subwords, for FE2E and MESM."""

    tokenizer: Subwords

    def __init__(self, settings: FE2ESettings, corpus: PreparedCorpus, folder: RunFolder) -> None:
        super().__init__(corpus, folder)
        self.settings = settings

    def dataset(self, split: str, *, augment: bool = False, seed: int = 0) -> ClipDataset:
        """The clips of a split, normalised by the training split's statistics."""
        sound = self.settings.sound
        return split_dataset(self.corpus, split, sound=sound, augment=augment, seed=seed)

    def single(self, clip_id: str) -> ClipDataset:
        """One clip of any split."""
        clip = self.corpus.clip(clip_id)
        return ClipDataset([clip], *self.corpus.sound_figures, sound=self.settings.sound)

    @property
    def collate(self) -> Collate:
        """Samples to a `mesm.Batch`."""
        return Collate(self.tokenizer, self.settings.text.max_length)

    def check(self) -> None:
        """The corpus is all there is."""

    def start(self, train_set: SplitDataset) -> None:
        """Take the run's subwords, or those of the pretrained text encoder, or learn them."""
        assert isinstance(train_set, ClipDataset)
        texts = (train_set.clip(index).text for index in range(len(train_set)))
        if Modality.TEXT.letter not in self.corpus.manifest.modalities:
            # Subwords that no model reads are learnt of the only words there are.
            texts = (name for name in self.corpus.manifest.emotions)
        self.tokenizer = choose_subwords(self.settings.text, self.folder, texts)

    def reopen(self) -> None:
        """Take the run's subwords."""
        self.tokenizer = saved_subwords(self.settings.text, self.folder)

    def check_model(self, arguments: Mapping[str, Any]) -> None:
        """See that the emotions and the subwords are those of the model."""
        super().check_model(arguments)
        known = (arguments.get("encoder") or arguments.get("albert") or {}).get("vocab_size")
        found = self.tokenizer.vocab_size
        # A pretrained encoder may know more subwords than its tokenizer has.
        more = (
            found != known if isinstance(self.tokenizer, UnigramSubwords) else found > (known or 0)
        )
        if known is not None and more:
            raise ValueError(
                f"{self.folder.tokenizer}: has {found} subwords, the model knows {known}; {MEND}"
            )

    def sizes(self) -> dict[str, int]:
        """Emotions; subwords: "vocabulary", how many there are, and "padding", which one pads."""
        found = {"vocabulary": self.tokenizer.vocab_size, "padding": self.tokenizer.pad_id}
        return super().sizes() | found

    def write(self) -> None:
        """Keep subwords and preprocessing, so that the run is whole wherever its folder lies."""
        learnt = isinstance(self.tokenizer, UnigramSubwords)
        if not learnt or not self.folder.tokenizer.exists():
            self.tokenizer.save(self.folder.tokenizer)
        Preprocessing.of(self.corpus).write(self.folder)


class TwoPhaseFeed(Feed):
    """Hand-crafted features, for the baselines.

    Raises:
        ValueError: the corpus has no features, or those of another preparation.
    """

    def __init__(
        self, settings: TwoPhaseSettings, corpus: PreparedCorpus, folder: RunFolder
    ) -> None:
        super().__init__(corpus, folder)
        self.settings = settings
        self.store = FeatureStore.open(corpus)
        self.limits = Limits(settings.max_words, settings.max_audio, settings.max_video)

    def dataset(self, split: str, *, augment: bool = False, seed: int = 0) -> FeatureDataset:
        """The features of a split's clips; they are never augmented."""
        clips = self.corpus.split(split)
        if len(clips) == 0:
            raise ValueError(f"the corpus's {split} split holds no clip")
        return FeatureDataset(self.store, clips.clip_ids, clips.labels, self.limits)

    def single(self, clip_id: str) -> FeatureDataset:
        """One clip of any split."""
        labels = np.asarray(self.corpus.clip(clip_id).labels)[None]
        return FeatureDataset(self.store, [clip_id], labels, self.limits)

    @property
    def collate(self) -> Callable[[list[Any]], Any]:
        """Samples to a `mesm.data.feature_batch.FeatureBatch`."""
        return collate_features

    @property
    def identity(self) -> dict[str, str]:
        """The entries that tell these features from others."""
        return {"sha256": sha256(self.store.folder / FILE), "features": self.store.feature_set}

    def check(self) -> None:
        """Refuse a run that was started on other features."""
        if self.folder.config.is_file():
            self.reopen()

    def start(self, train_set: SplitDataset) -> None:
        """Mean and deviation of a fold's training split are computed; there is nothing to learn."""
        assert self.store.figures

    def reopen(self) -> None:
        """See that the features are those of the run."""
        if not self.folder.features.is_file():
            raise ValueError(
                f"{self.folder.path}: this run has no {self.folder.features.name}, which says what "
                "it was trained on; choose another folder"
            )
        try:
            kept = json.loads(self.folder.features.read_text(encoding="utf-8"))
            if not isinstance(kept, dict):
                raise ValueError(f"wanted keys and values, got {type(kept).__name__}")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.folder.features}: damaged ({error}); {MEND}") from error
        if kept != self.identity:
            raise ValueError(
                f"{self.folder.path}: was trained on other features than {self.store.folder} "
                f"holds: {kept.get('features')!r} (sha256 {str(kept.get('sha256'))[:12]}), now "
                f"{self.store.feature_set!r} (sha256 {self.identity['sha256'][:12]}); make those "
                "again, or train another run"
            )

    def sizes(self) -> dict[str, int]:
        """Emotions, and features per row of "text", "audio" and "video"."""
        return super().sizes() | {str(name): dim for name, dim in self.store.dims.items()}

    def emotion_vectors(self) -> NDArray[np.float32]:
        """Word vectors (E, 300) of the emotions' names, in the corpus's order."""
        return self.store.emotion_vectors()

    def write(self) -> None:
        """Keep the `identity` of these features."""
        self.folder.write_json(self.folder.features, self.identity)

    def facts(self) -> dict[str, Any]:
        """Which features were read."""
        return {"features": self.store.feature_set}
