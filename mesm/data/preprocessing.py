"""How raw media become a run's inputs: what lies in its corpus' manifest, not in its weights.

A run keeps it in preprocessing.json, so that recordings are predicted where the corpus is not.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mesm.corpora.prepared import PreparedCorpus
from mesm.inputs.faces import FaceRule
from mesm.runs.checkpoints import MEND
from mesm.runs.documents import PreprocessingDocument
from mesm.runs.folder import RunFolder
from mesm.runs.hashes import read_sealed, sealed

# The least face in corpora whose manifest does not say it.
MIN_FACE_SIZE = 20


@dataclass(frozen=True)
class Preprocessing:
    """Statistics and options of the preparation that a run's inputs come from.

    Attributes:
        corpus: name of the corpus, as of the registry.
        title: its title in tables.
        synthetic: whether it was generated; None: it does not say so.
        emotions: E names, in the order of the labels.
        single_label: whether every clip has exactly one emotion.
        spectrogram_mean: over the training split, of the log-mel values.
        spectrogram_std: likewise.
        min_face_size: side in pixels of the smallest face looked for.
        faces: whose face a clip shows.
        lacking: of "text", "sound" and "pictures", those that some clip of the corpus has none of;
            the run has an answer of its own to clips without them.
    """

    corpus: str
    title: str
    synthetic: bool | None
    emotions: tuple[str, ...]
    single_label: bool
    spectrogram_mean: float
    spectrogram_std: float
    min_face_size: int
    faces: FaceRule
    lacking: tuple[str, ...]

    @classmethod
    def of(cls, corpus: PreparedCorpus) -> Preprocessing:
        """That of a prepared corpus, with the statistics of the fold where it is one."""
        manifest = corpus.manifest
        mean, std = corpus.sound_figures
        return cls(
            corpus=manifest.corpus,
            title=manifest.title,
            synthetic=manifest.synthetic,
            emotions=tuple(manifest.emotions),
            single_label=manifest.single_label,
            spectrogram_mean=mean,
            spectrogram_std=std,
            min_face_size=manifest.options.get("min_face_size", MIN_FACE_SIZE),
            faces=manifest.options.get("faces", "largest"),
            lacking=tuple(sorted(name for name, clips in manifest.without.items() if clips)),
        )

    @classmethod
    def read(cls, folder: RunFolder) -> Preprocessing | None:
        """That which a run keeps; None: earlier runs keep none.

        Raises:
            ValueError: the file is damaged; names it.
        """
        found = read_sealed(folder.preprocessing, PreprocessingDocument, MEND)
        if found is None:
            return None
        values: dict[str, Any] = {name: found[name] for name in cls.__dataclass_fields__}
        values |= {name: tuple(values[name]) for name in ("emotions", "lacking")}
        return cls(**values)

    def write(self, folder: RunFolder) -> None:
        """Keep it in a run's folder."""
        values = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }
        folder.write_json(folder.preprocessing, sealed(values))
