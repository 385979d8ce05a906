"""Folders, named pipes and sockets where a file is wanted: told or passed over, never waited for.

Each file of a whole run and its corpus is replaced in turn.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from mesm.analysis.planted import read_ground_truth
from mesm.analysis.verify import verify
from mesm.cli import app
from mesm.config.files import load_config
from mesm.corpora.extraction import Dialog, extract
from mesm.corpora.iemocap import read_iemocap
from mesm.corpora.splits import read_split_lists
from mesm.experiment.grid import load_experiment
from mesm.features.csv_files import find_csv
from mesm.features.sources import find_inputs
from mesm.inputs.face_detector import FaceDetector
from mesm.inputs.subwords import PretrainedSubwords, UnigramSubwords
from mesm.inputs.text_model import read_text_model
from mesm.runs.files import owned_file
from mesm.runs.tensor_files import read_tensors

DATA = Path(__file__).parents[1] / "data" / "legacy"
CORPUS, RUN, BASELINE = "corpora/iemocap", "runs/iemocap_mesm", "runs/iemocap_mult"
FILES = sorted(
    str(file.relative_to(DATA))
    for part in (CORPUS, RUN, BASELINE)
    for file in (DATA / part).rglob("*")
    if file.is_file()
)
KINDS = ("folder", "named pipe", "socket")
NO_DETECTOR = cast(FaceDetector, None)  # none is asked where there is no video
# `verify` has nothing to say of these: pictures, and what the miniature corpus was made of.
UNREAD = (".png", "ground_truth.jsonl")


@pytest.fixture(autouse=True)
def at_most_a_minute() -> Iterator[None]:
    """Opening a pipe waits for ever, also with pytest's own means."""

    def late(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError("waited for something that is no file")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, str], None]:
    """Something else instead of a file."""

    def put(file: Path, kind: str) -> None:
        if file.is_file():
            file.unlink()
        if kind == "folder":
            file.mkdir()
        elif kind == "named pipe":
            os.mkfifo(file)
        else:
            with socket.socket(socket.AF_UNIX) as made:
                monkeypatch.chdir(file.parent)  # a socket's path may have 107 bytes
                made.bind(file.name)

    return put


def remove(place: Path) -> None:
    shutil.rmtree(place) if place.is_dir() else place.unlink()


def test_every_file_of_a_run_and_of_its_corpus(
    tmp_path: Path, put: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    legacy = tmp_path / "legacy"
    for part in (CORPUS, RUN, BASELINE):
        shutil.copytree(DATA / part, legacy / part)
    for place, name in enumerate(FILES):
        kind = KINDS[place % 3]
        file = legacy / name
        kept = file.read_bytes()
        put(file, kind)
        monkeypatch.chdir(legacy)
        part = Path(*Path(name).parts[:2])
        found = verify(part)
        if not name.endswith(UNREAD):
            assert any(file.name in one for one in found), name
        run = RUN if part == Path(CORPUS) else str(part)
        done = CliRunner().invoke(app, ["evaluate", run])
        assert done.exit_code in (0, 2), f"{name}: {done.output}"
        assert "Traceback" not in done.output
        if done.exit_code:
            assert file.name in done.output
        remove(file)
        file.write_bytes(kept)
    monkeypatch.chdir(legacy)
    assert verify(Path(RUN)) == []


def test_every_file_of_a_raw_corpus(tmp_path: Path, put: Callable[[Path, str], None]) -> None:
    dialog = tmp_path / "Session1" / "dialog"
    name = "Ses01F_impro01"
    files = [dialog / "EmoEvaluation" / f"{name}.txt", dialog / "transcriptions" / f"{name}.txt"]
    files += [dialog / "wav" / f"{name}.wav", dialog / "avi" / "DivX" / f"{name}.avi"]
    for file in files:
        file.parent.mkdir(parents=True)
    files[0].write_text(f"[0.5 - 2.5]\t{name}_F000\thap\t[1, 2, 3]\n")
    files[1].write_text(f"{name}_F000 [000.5-002.5]: So happy.\n")
    (utterance,) = read_iemocap(tmp_path).utterances
    for kind in KINDS:
        put(utterance.audio, kind)
        part = extract(Dialog(name, tmp_path, (utterance,), 60), NO_DETECTOR)
        assert [(s.reason, s.detail[:20]) for s in part[1]] == [
            ("no sound file", f"is a {kind}, wanted a file"[:20])
        ]
        for video in KINDS:  # looked into for a sound of its own
            put(utterance.video, video)
            _, (skipped,) = extract(Dialog(name, tmp_path, (utterance,), 60), NO_DETECTOR)
            assert skipped.reason == "no sound file"
            remove(utterance.video)
        remove(utterance.audio)
    for file in files[:2]:
        kept = file.read_text()
        for kind in KINDS:
            put(file, kind)
            found = read_iemocap(tmp_path)
            assert found.utterances == []
            assert f"passed over {str(file.relative_to(tmp_path))!r}: not a file" in found.notes
            remove(file)
        file.write_text(kept)


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_that_a_user_names(
    tmp_path: Path, put: Callable[[Path, str], None], kind: str
) -> None:
    named = tmp_path / "named"
    put(named, kind)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "OpenFace").mkdir()
    (tmp_path / "raw" / "iemocap_train.txt").symlink_to(named)
    for split in ("valid", "test"):
        (tmp_path / "raw" / f"iemocap_{split}.txt").write_text(split)
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "albert"}')
    put(model / "odd.json", kind)
    calls: list[Callable[[], Any]] = [
        lambda: load_config(named),
        lambda: load_experiment(named),
        lambda: read_ground_truth(named),
        lambda: read_tensors(named, "mend"),
        lambda: find_inputs(tmp_path / "raw", None, named, None),
        lambda: read_split_lists(tmp_path / "raw", "iemocap"),
        lambda: UnigramSubwords.load(named),
    ]
    if kind != "folder":  # which a model's folder may hold, and which a writer refuses otherwise
        calls.append(lambda: read_text_model(model))
        calls.append(lambda: PretrainedSubwords.from_model(model))
        calls.append(lambda: owned_file(named, "writing").__enter__())
    for call in calls:
        with pytest.raises((ValueError, FileNotFoundError), match=f"is a {kind}, wanted a file"):
            call()
    (tmp_path / "raw" / "clip.csv").symlink_to(named)
    assert find_csv(tmp_path / "raw", "clip", "dialog") is None


def test_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("gone.yaml")
    with pytest.raises(ValueError, match=r"link is a link to gone\.yaml, which is not there"):
        read_tensors(tmp_path / "link", "mend")
