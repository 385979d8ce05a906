"""The settings, corpus, scores and history that a run's folder tells."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from mesm.config.experiment import ExperimentConfig
from mesm.config.files import load_config
from mesm.config.fold import FoldSettings
from mesm.corpora.manifest import Manifest
from mesm.corpora.prepared import PreparedCorpus
from mesm.corpora.registry import find_corpus
from mesm.data.corpus_folder import in_fold, locate_corpus
from mesm.evaluation.history import read_history
from mesm.evaluation.settings import read_settings
from mesm.evaluation.task import Task, task_of
from mesm.runs.documents import Attention, Evaluation, Points
from mesm.runs.files import read_json
from mesm.runs.folder import RunFolder
from mesm.runs.ordinary import not_a_file


class RunRecord:
    """A run's folder, read piece by piece: nothing before it is asked for, and then once.

    Args:
        path: the folder.
        split: whose scores `scores` are.
        corpus: where its corpus lies; None: where `mesm.data.corpus_folder.locate_corpus` finds it.

    Raises:
        ValueError: every attribute raises it, with the file's name, where what it reads is missing
            or damaged.
    """

    def __init__(self, path: Path, split: str = "test", corpus: Path | None = None) -> None:
        self.path = Path(path)
        self.folder = RunFolder(self.path)
        self.split = split
        self._place = corpus

    def check_unpublished(self) -> None:
        """Refuse a folder of `mesm publish`, of which everything else would be said to lack."""
        files = [self.path / name for name in ("preprocessor_config.json", "model.safetensors")]
        if not self.folder.config.exists() and all(file.is_file() for file in files):
            raise ValueError(
                f"{self.path}: is a published model, and no run that could be trained or scored; "
                f"mesm predict {self.path} FILE and mesm serve {self.path} take it"
            )

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The content of config.yaml as JSON values; see `read_settings`."""
        return read_settings(self.folder.config)

    @property
    def model_settings(self) -> Mapping[str, Any]:
        """The settings of its model."""
        section: Mapping[str, Any] = self.settings["model"]
        return section

    @property
    def system(self) -> str:
        """Its model's name in the settings, e.g. "mesm"."""
        return str(self.model_settings["name"])

    @property
    def seed(self) -> int:
        """The seed of its training."""
        return int(self.settings.get("training", {}).get("seed", 0))

    @cached_property
    def config(self) -> ExperimentConfig:
        """Its settings, checked."""
        self.check_unpublished()
        if not self.folder.config.is_file():
            raise ValueError(
                f"{self.path}: no run, config.yaml {not_a_file(self.folder.config)}; `mesm train` "
                "makes runs"
            )
        return load_config(self.folder.config)

    @cached_property
    def corpus(self) -> PreparedCorpus:
        """The prepared corpus it was trained on, with the splits of its fold where it has one."""
        place = locate_corpus(self.folder, Path(self.settings["corpus"]), self._place)
        return in_fold(PreparedCorpus.open(place), self.fold, self.folder)

    @property
    def located(self) -> ExperimentConfig:
        """Its settings, with the folder where its corpus lies now."""
        return self.config.model_copy(update={"corpus": self.corpus.path})

    @property
    def fold(self) -> FoldSettings | None:
        """The fold it was trained and is tested on; None: the corpus' own splits."""
        values = self.settings.get("fold")
        return None if values is None else FoldSettings.model_validate(values)

    @property
    def manifest(self) -> Manifest:
        """The manifest of its corpus."""
        return self.corpus.manifest

    @property
    def emotions(self) -> list[str]:
        """E names."""
        return list(self.manifest.emotions)

    @property
    def accuracy_name(self) -> str:
        """Which accuracy tables show for its corpus."""
        return self.task.accuracy_name(find_corpus(self.manifest.corpus).accuracy)

    @property
    def task(self) -> Task:
        """Whether its clips have one emotion each or several, by its settings and its corpus."""
        loss = self.settings.get("training", {}).get("loss")
        return task_of(loss, self.manifest.single_label)

    @cached_property
    def evaluation(self) -> Mapping[str, Any]:
        """The content of evaluation.json: scores by split; empty where nothing was scored."""
        return read_json(self.folder.evaluation, Evaluation) or {}

    @property
    def is_scored(self) -> bool:
        """Whether `mesm evaluate` has scored the split."""
        return self.split in self.evaluation

    def check_scored(self) -> None:
        """Raise a ValueError that names the command where the split has no scores."""
        if not self.is_scored:
            raise ValueError(
                f"{self.path}: not evaluated on the {self.split} split; run `mesm evaluate "
                f"{self.path} --split {self.split}`"
            )

    @property
    def scores(self) -> Mapping[str, Any]:
        """The scores that `mesm evaluate` wrote of the split; ValueError if there are none."""
        self.check_scored()
        found: Mapping[str, Any] = self.evaluation[self.split]
        return found

    @cached_property
    def sweep(self) -> Mapping[str, Any] | None:
        """The content of sweep.json, or None."""
        return read_json(self.path / "sweep.json", Points)

    @cached_property
    def attention(self) -> Mapping[str, Any] | None:
        """How the attention scored against planted regions, or None."""
        return read_json(self.path / "explain" / "action_units.json", Attention)

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """A record per epoch."""
        return read_history(self.folder)
