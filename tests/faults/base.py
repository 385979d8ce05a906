"""The undamaged corpora and runs that every input starts from, made once by the commands."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mesm.runs.files import read_json
from tests.faults.process import run

CLIPS = 14
FACES = ("--min-face-size", "60", "--workers", "1")
TINY = [
    "model.channels=[4,8,8,8]",
    "model.hidden=16",
    "model.dim=16",
    "model.heads=2",
    "model.layers=1",
    "model.feedforward=16",
    "model.text.embedding=8",
    "model.text.hidden=16",
    "model.text.heads=2",
    "model.text.feedforward=16",
    "model.text.vocabulary=100",
    "training.epochs=2",
    "training.patience=2",
]
SHORT = ("training.epochs=2", "training.patience=2")
COMMANDS = (
    f"miniature iemocap --clips {CLIPS}",
    f"miniature mosei --clips {CLIPS} --layout mosei",
    f"prepare iemocap iemocap prep {' '.join(FACES)}",
    f"prepare mosei mosei prepm {' '.join(FACES)}",
    "features prep --raw iemocap --workers 1",
    f"train miniature_mesm --run run corpus=prep {' '.join(TINY)}",
    f"train miniature_lf_lstm --run features_run corpus=prep {' '.join(SHORT)}",
    "evaluate run",
    "evaluate features_run",
    "sweep run --p 0.5,1.0",
)


@dataclass(frozen=True)
class Base:
    """A folder with raw corpora (`iemocap`, `mosei`), prepared ones (`prep`, `prepm`) and runs."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Base:
        """Make what is missing."""
        done = folder / "done"
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for command in COMMANDS:
                result = run(command.split(), folder)
                if result.code != 0:
                    raise RuntimeError(f"{result.line} ended with {result.code}: {result.err}")
            done.touch()
        return cls(folder)

    @contextmanager
    def sandbox(self, *names: str) -> Iterator[Path]:
        """A folder with copies of what is named."""
        # One level down, so that what leaves the folder upwards is seen.
        folder = scratch() / "here"
        folder.mkdir()
        for name in names:
            self.take(name, folder)
        yield folder

    def take(self, name: str, folder: Path) -> None:
        """Copy one of the base's folders; a run then reads the copied corpus."""
        shutil.copytree(self.folder / name, folder / name, symlinks=True)
        config = folder / name / "config.yaml"
        if config.is_file():
            text = config.read_text().replace(str(self.folder.resolve()), str(folder.resolve()))
            config.write_text(text)

    @cached_property
    def rows(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Per layout the prepared rows by clip id."""
        return {
            layout: prepared_rows(self.folder / prep)
            for layout, prep in (("iemocap", "prep"), ("mosei", "prepm"))
        }

    @cached_property
    def scores(self) -> dict[str, Any]:
        """Per run its scores."""
        return {
            name: read_json(self.folder / name / "evaluation.json")
            for name in ("run", "features_run")
        }


def scratch() -> Path:
    """A new folder; it goes with its input, unless that is a finding."""
    return Path(tempfile.mkdtemp(prefix="mesm-faults-"))


def prepared_rows(prep: Path) -> dict[str, dict[str, Any]]:
    """The rows of a prepared corpus by clip id, read without the package."""
    rows: dict[str, dict[str, Any]] = {}
    for file in sorted((prep / "data").glob("*.parquet")):
        for row in pq.read_table(file, use_threads=False).to_pylist():
            if row["clip_id"] in rows:
                raise ValueError(f"{row['clip_id']} is there twice")
            rows[row["clip_id"]] = row | {"split": file.name.partition("-")[0]}
    return rows


def tree(folder: Path, without: tuple[str, ...] = ()) -> dict[str, str]:
    """Relative path to hash of every file below a folder; links by where they lead."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if any(part in name for part in without):
            continue
        if path.is_symlink():
            found[name] = f"link {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
