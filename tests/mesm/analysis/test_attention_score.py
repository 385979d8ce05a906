"""Scoring kept sites against planted regions, on traces whose answer is known and on a run."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mesm.analysis.attention_score import ModalityTallies, score_attention, score_clip
from mesm.analysis.attention_trace import BlockAttention
from mesm.analysis.planted import read_ground_truth
from mesm.corpora.prepared import PreparedCorpus


def uniform(frames: int, height: int, width: int, kept: np.ndarray) -> BlockAttention:
    shape = (frames, height, width)
    attention = np.full(shape, 1 / (height * width), dtype=np.float32)
    return BlockAttention(np.ones(shape, dtype=bool), attention, kept)


def test_attention_on_the_planted_square_hits_always(tiny_corpus: Path) -> None:
    """Clip 0's square covers columns 4–12 and rows 30–38 of the crop."""
    clip = PreparedCorpus.open(tiny_corpus).clip("test_000")
    planted = read_ground_truth(tiny_corpus / "ground_truth.jsonl")["test_000"]
    blocks = []
    for size in (24, 12, 6):
        kept = np.zeros((3, size, size), dtype=bool)
        cell = 48 // size
        kept[:, 30 // cell : -(-38 // cell), 4 // cell : -(-12 // cell)] = True
        blocks.append(uniform(3, size, size, kept))
    tallies = {"face": ModalityTallies()}
    score_clip(tallies, clip, planted, {"face": blocks})
    scores = tallies["face"].summary()["all"]
    first, _, third = scores["blocks"]
    assert (first["height"], first["cell_pixels"], first["frames"]) == (24, 2, 3)
    assert first["sites"]["hit"] == 1
    assert first["sites"]["chance"] == pytest.approx(16 / 576)
    assert first["by_attention_mass"]["ratio"] == pytest.approx(1)
    assert third["sites"]["chance"] == pytest.approx(4 / 36)
    assert third["by_area"]["hit"] == pytest.approx(64 / (4 * 64))
    assert scores["final"]["sites"]["hit"] == 1
    assert scores["final"]["sites"]["chance"] == pytest.approx(64 / 48**2)


def test_the_half_that_is_not_named_is_a_group_of_its_own(tiny_corpus: Path) -> None:
    clip = PreparedCorpus.open(tiny_corpus).clip("test_000")
    planted = read_ground_truth(tiny_corpus / "ground_truth.jsonl")["test_000"]
    x0, y0, x1, y1 = clip.face_boxes[0].tolist()
    # The upper left quarter of the crop; clip 0's square lies in the lower left one.
    quarter = np.array([[x0, y0, (x0 + x1) / 2, (y0 + y1) / 2]])
    frames = tuple(replace(frame, misleading=quarter) for frame in planted.frames)
    kept = np.zeros((3, 24, 24), dtype=bool)
    kept[:, :12, :12] = True
    tallies = {"face": ModalityTallies()}
    blocks = {"face": [uniform(3, 24, 24, kept)]}
    score_clip(tallies, clip, replace(planted, frames=frames), blocks)
    scores = tallies["face"].summary()
    assert set(scores) == {"all", "true", "other_half"}
    assert scores["all"]["blocks"][0]["sites"]["hit"] == 0
    other = scores["other_half"]["blocks"][0]["sites"]
    assert (other["hit"], other["ratio"]) == (1, pytest.approx(4))


def test_frames_without_a_face_are_left_out(tiny_corpus: Path) -> None:
    clip = PreparedCorpus.open(tiny_corpus).clip("test_002")
    planted = read_ground_truth(tiny_corpus / "ground_truth.jsonl")["test_002"]
    tallies = {"face": ModalityTallies()}
    kept = np.ones((3, 24, 24), dtype=bool)
    score_clip(tallies, clip, planted, {"face": [uniform(3, 24, 24, kept)]})
    assert clip.face_found.tolist() == [True, True, False]
    assert tallies["face"].summary()["all"]["blocks"][0]["frames"] == 2


def test_sound_is_scored_chunk_by_chunk_without_the_padding(tiny_corpus: Path) -> None:
    """70 columns are three chunks, the last with 6 real columns; the cue ends in the second."""
    clip = PreparedCorpus.open(tiny_corpus).clip("test_000")
    planted = read_ground_truth(tiny_corpus / "ground_truth.jsonl")["test_000"]
    tallies = {"audio": ModalityTallies()}
    kept = np.ones((3, 64, 16), dtype=bool)
    score_clip(tallies, clip, planted, {"audio": [uniform(3, 64, 16, kept)]})
    scores = tallies["audio"].summary()
    block = scores["all"]["blocks"][0]
    assert block["frames"] == 2
    assert block["sites"]["ratio"] == pytest.approx(1)
    assert set(scores) == {"all", "misleading"}


@pytest.fixture
def run(tiny_mesm: Path, tmp_path: Path) -> Path:
    """A copy, as the scores are written into the run."""
    return shutil.copytree(tiny_mesm, tmp_path / "run")


def test_run_is_scored_over_the_split(run: Path, tiny_corpus: Path) -> None:
    scores = score_attention(run, tiny_corpus / "ground_truth.jsonl", "test")
    written = json.loads((run / "explain" / "action_units.json").read_text())
    assert written == scores
    assert (scores["clips"], scores["p"], scores["split"]) == (7, 0.5, "test")
    assert "chance" in scores["definition"]
    for modality in ("face", "audio"):
        group = scores[modality]["all"]
        assert [block["block"] for block in group["blocks"]] == [1, 2, 3]
        for entry in [*group["blocks"], group["final"]]:
            assert 0 <= entry["sites"]["hit"] <= 1
            low, high = entry["sites"]["interval"]
            assert low <= entry["sites"]["ratio"] <= high
    assert scores["face"]["all"]["blocks"][0]["frames"] == 3 * 7 - 2


def test_everything_kept_is_chance(run: Path, tiny_corpus: Path) -> None:
    scores = score_attention(run, tiny_corpus / "ground_truth.jsonl", "valid", p=1.0)
    for modality in ("face", "audio"):
        for entry in scores[modality]["all"]["blocks"]:
            assert entry["sites"]["ratio"] == pytest.approx(1)


def test_ground_truth_of_another_corpus_is_refused(
    run: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    line = json.loads((tiny_corpus / "ground_truth.jsonl").read_text().splitlines()[0])
    other = tmp_path / "ground_truth.jsonl"
    other.write_text(json.dumps(line | {"clip_id": "elsewhere"}) + "\n")
    with pytest.raises(ValueError, match="names none of the 7 clips"):
        score_attention(run, other)
