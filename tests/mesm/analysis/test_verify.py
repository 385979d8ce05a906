"""Findings about corpora and runs that were whole, and had one thing damaged."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from mesm.analysis.verify import examine, verify
from mesm.cli import app
from tests.mesm.conftest import EMOTIONS
from tests.mesm.trainings import relabelled

DATA = Path(__file__).parents[2] / "data" / "legacy"
CORPUS, RUN, BASELINE = "corpora/iemocap", "runs/iemocap_mesm", "runs/iemocap_mult"
TEST_CLIPS = f"{CORPUS}/data/test-00000-of-00001.parquet"


@pytest.fixture
def legacy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to damage; runs name their corpus relative to its folder."""
    folder = tmp_path / "legacy"
    for part in (CORPUS, RUN, BASELINE):
        shutil.copytree(DATA / part, folder / part)
    monkeypatch.chdir(folder)
    return folder


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) - 20])


def poison(file: Path) -> None:
    tensors = load_file(file)
    name = next(name for name, value in tensors.items() if value.is_floating_point())
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    save_file(tensors, file, metadata={"format": "pt"})


def drop_last_line(file: Path) -> None:
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))


def null(file: Path) -> None:
    file.write_text("null")


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def rehashed(file: Path, column: str, value: Any) -> None:
    """Give the first clip another value, and the manifest the hash of that."""
    table = pq.read_table(file)
    values = [value, *table[column].to_pylist()[1:]]
    place = table.schema.get_field_index(column)
    field = table.schema.field(column)
    pq.write_table(table.set_column(place, field, pa.array(values, field.type)), file)
    manifest = Path(CORPUS) / "manifest.json"
    files = json.loads(manifest.read_text())["files"]
    name = str(file.relative_to(CORPUS))
    change(manifest, files=files | {name: hashlib.sha256(file.read_bytes()).hexdigest()})


@pytest.mark.parametrize("path", [CORPUS, RUN, BASELINE])
def test_nothing_is_found_and_nothing_written_where_all_is_whole(legacy: Path, path: str) -> None:
    before = {file: file.stat().st_mtime_ns for file in legacy.rglob("*")}
    found = examine(Path(path))
    assert found.findings == []
    assert "7 clips decoded" in found.checked
    assert {file: file.stat().st_mtime_ns for file in legacy.rglob("*")} == before


def test_every_legacy_run_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DATA)
    for run in sorted(Path("runs").iterdir()):
        assert verify(run) == []


@pytest.mark.parametrize(
    ("path", "file", "damage", "said"),
    [
        (CORPUS, TEST_CLIPS, flip, "its hash differs"),
        (CORPUS, TEST_CLIPS, Path.unlink, "test-00000-of-00001.parquet is not there"),
        (CORPUS, f"{CORPUS}/features/audio.parquet", flip, "run mesm features"),
        (CORPUS, f"{CORPUS}/features/features.json", Path.unlink, "features.json: missing"),
        (CORPUS, f"{CORPUS}/manifest.json", Path.unlink, "manifest.json: missing"),
        (CORPUS, f"{CORPUS}/manifest.json", cut, "not the manifest"),
        (RUN, TEST_CLIPS, flip, "its hash differs"),
        (RUN, f"{RUN}/config.yaml", Path.unlink, "config.yaml is not there"),
        (RUN, f"{RUN}/config.json", Path.unlink, "config.json"),
        (RUN, f"{RUN}/model.safetensors", cut, "not a safetensors file"),
        (RUN, f"{RUN}/model.safetensors", poison, "not finite"),
        (RUN, f"{RUN}/tokenizer.json", cut, "tokenizer.json"),
        (RUN, f"{RUN}/evaluation.json", null, "damaged, at the whole"),
        (RUN, f"{RUN}/sweep.json", null, "damaged, at the whole"),
        (RUN, f"{RUN}/explain/action_units.json", cut, "not JSON"),
        (RUN, f"{RUN}/metrics.jsonl", cut, "damaged"),
        (RUN, f"{RUN}/metrics.jsonl", Path.unlink, "missing or empty"),
        (RUN, f"{RUN}/predictions/test.parquet", cut, "holds no predictions"),
        (BASELINE, f"{BASELINE}/metrics.jsonl", drop_last_line, "has 2 records"),
        (BASELINE, f"{BASELINE}/last/state.json", cut, "cannot be read"),
        (BASELINE, f"{BASELINE}/last/model.safetensors", poison, "not finite"),
        (BASELINE, f"{BASELINE}/last/optimizer.safetensors", cut, "not a safetensors file"),
        (BASELINE, f"{BASELINE}/features.json", null, "features.json: damaged"),
    ],
)
def test_the_damaged_file_is_named_with_what_to_do(
    legacy: Path, path: str, file: str, damage: Callable[[Path], None], said: str
) -> None:
    damage(Path(file))
    (finding,) = verify(Path(path))
    assert said in finding
    assert Path(file).name in finding
    assert ";" in finding  # the mend comes after it
    assert "\n" not in finding


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("start", float("nan"), "a clip from nan s"),
        ("labels", [1, 0], "labels [1, 0] for 6 emotions"),
        ("face_times", [], "entries about them"),
        ("faces", [b"no picture"], "cannot be read as prepared clips"),
        ("labels", [1, 1, 1, 1, 1, 1], "in the test split, whose files hold"),
    ],
)
def test_a_clip_that_is_none_is_found_though_its_hash_is_right(
    legacy: Path, column: str, value: Any, said: str
) -> None:
    shutil.rmtree(Path(CORPUS) / "features")  # which tell that the manifest is another
    rehashed(Path(TEST_CLIPS), column, value)
    findings = verify(Path(CORPUS))
    assert findings
    assert all(said in finding and "run the same mesm prepare" in finding for finding in findings)


def test_all_that_is_wrong_is_told(legacy: Path) -> None:
    cut(Path(RUN) / "model.safetensors")
    null(Path(RUN) / "evaluation.json")
    flip(Path(TEST_CLIPS))
    findings = verify(Path(RUN))
    assert len(findings) == 3
    for name in ("model.safetensors", "evaluation.json", "test-00000-of-00001.parquet"):
        assert any(name in finding for finding in findings)


def test_results_of_other_weights_are_found(legacy: Path) -> None:
    file = Path(RUN) / "model.safetensors"
    tensors = load_file(file)
    save_file({name: value + 1 for name, value in tensors.items()}, file)
    findings = verify(Path(RUN))
    assert sum("made before a change of weights" in finding for finding in findings) == 2
    assert sum("are of other weights" in finding for finding in findings) == 1
    assert all("mesm evaluate" in finding for finding in findings)


def test_a_config_of_another_training_is_found(legacy: Path) -> None:
    file = Path(RUN) / "config.json"
    change(file, p=0.123)
    findings = verify(Path(RUN))
    assert any(f"{file}: its model has another p" in finding for finding in findings)


def test_a_training_that_can_go_on_is_whole(legacy: Path) -> None:
    file = Path(BASELINE) / "last" / "state.json"
    change(file, finished=None)
    found = examine(Path(BASELINE))
    assert found.findings == []
    assert "iemocap_mult is unfinished after epoch 3" in found.checked


def test_a_training_that_diverged_is_told(legacy: Path) -> None:
    (Path(RUN) / "diverged.txt").write_text("epoch 1: the loss is nan; lower the rate\n")
    (finding,) = verify(Path(RUN))
    assert finding.endswith(
        "diverged.txt: the training diverged: epoch 1: the loss is nan; lower the rate"
    )


def test_trainings_inside_a_run_are_looked_at(legacy: Path) -> None:
    inner = shutil.copytree(RUN, Path(RUN) / "retrain" / "p-0.3")
    assert verify(Path(RUN)) == []
    cut(inner / "model.safetensors")
    (finding,) = verify(Path(RUN))
    assert str(inner / "model.safetensors") in finding


def test_a_corpus_that_is_elsewhere_is_named(legacy: Path) -> None:
    shutil.move(CORPUS, "elsewhere")
    (finding,) = verify(Path(RUN))
    assert "its corpus is not there" in finding
    assert "corpora/iemocap" in finding


def test_the_command_says_so_with_its_exit_status(legacy: Path) -> None:
    def run(path: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["verify", path])
        return done.exit_code, done.stdout + done.stderr

    code, shown = run(RUN)
    assert code == 0
    assert f"{RUN}: whole (3 Parquet files" in shown
    null(Path(RUN) / "evaluation.json")
    code, shown = run(RUN)
    assert code == 1
    assert "evaluation.json: damaged" in shown
    for path, said in (("nowhere", "no such folder"), (".", "neither manifest.json nor")):
        code, shown = run(path)
        assert code == 2
        assert said in shown
        assert "mesm prepare" in shown


def test_a_run_on_one_emotion_a_clip(single_mesm: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    run = shutil.copytree(single_mesm, tmp_path / "run")
    assert examine(run).findings == []

    def label(split: str, place: int) -> list[int]:
        return [1, int((split, place) == ("test", 5)), 0, 0, 0, 0]

    corpus = tmp_path / "corpus"
    relabelled(tiny_corpus, corpus, EMOTIONS, label, single_label=True)
    config = (run / "config.yaml").read_text()
    config = config.replace(str(single_mesm.parent / "corpus"), str(corpus))
    (run / "config.yaml").write_text(config)
    assert any("was trained on another corpus than" in one for one in examine(run).findings)
    (run / "corpus.json").unlink()  # as an earlier run
    assert any("clip test_005 of the test split has 2" in one for one in examine(run).findings)
