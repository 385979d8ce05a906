"""Pictures and kept sites of a tiny run."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mesm.analysis.explain import explain

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def run(tiny_mesm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("explained") / "mesm"
    shutil.copytree(tiny_mesm, copy)
    shutil.rmtree(copy / "explain", ignore_errors=True)
    return copy


def test_one_clip(run: Path, tiny_corpus: Path) -> None:
    result = explain(run, "train_003", p=0.3, ground_truth=tiny_corpus / "ground_truth.jsonl")
    folder = run / "explain" / "train_003"
    assert result["pictures"] == [folder / "faces.png", folder / "spectrograms.png"]
    assert result["scores"] is None
    for picture in result["pictures"]:
        assert picture.read_bytes().startswith(PNG)
    kept = json.loads((folder / "kept_sites.json").read_text())
    assert (kept["clip_id"], kept["p"], kept["emotions"]) == ("train_003", 0.3, ["happy"])
    assert [(block["height"], block["width"]) for block in kept["audio"]] == [
        (64, 16),
        (32, 8),
        (16, 4),
    ]
    for block in [*kept["face"], *kept["audio"]]:
        assert len(block["kept"]) == 3
        for sites, attention in zip(block["kept"], block["attention"], strict=True):
            assert sites == sorted(sites)
            assert np.isclose(sum(attention), 0.3, atol=0.3)
            assert sum(attention) >= 0.3 - 1e-4


def test_one_clip_per_emotion_and_the_score(run: Path, tiny_corpus: Path) -> None:
    result = explain(run, ground_truth=tiny_corpus / "ground_truth.jsonl")
    assert result["clips"] == [f"test_{place:03d}" for place in range(6)]
    grids = ("faces", "spectrograms_loudest", "spectrograms")
    assert result["pictures"][:3] == [run / "explain" / f"{name}.png" for name in grids]
    for picture in result["pictures"]:
        assert picture.read_bytes().startswith(PNG)
    assert len(result["pictures"]) == 3 + 2 * 6
    assert result["scores"]["clips"] == 7
    assert (run / "explain" / "action_units.json").is_file()


def test_planted_regions_change_the_picture(run: Path, tiny_corpus: Path) -> None:
    picture = explain(run, "test_001")["pictures"][0]
    plain = picture.read_bytes()
    assert explain(run, "test_001")["pictures"][0].read_bytes() == plain
    explain(run, "test_001", ground_truth=tiny_corpus / "ground_truth.jsonl")
    assert picture.read_bytes() != plain


def test_refusals_write_nothing(tiny_fe2e: Path, run: Path, tmp_path: Path) -> None:
    dense = tmp_path / "fe2e"
    shutil.copytree(tiny_fe2e, dense)
    with pytest.raises(ValueError, match="wanted a MESM run"):
        explain(dense)
    assert not (dense / "explain").exists()
    before = sorted(run.rglob("*"))
    with pytest.raises(ValueError, match="no_such_clip"):
        explain(run, "no_such_clip")
    with pytest.raises(ValueError, match=r"p must be in \(0, 1\]"):
        explain(run, "test_000", p=2)
    with pytest.raises(ValueError, match="is not there"):
        explain(run, "test_000", ground_truth=tmp_path / "none.jsonl")
    assert sorted(run.rglob("*")) == before
