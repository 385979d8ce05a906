"""The planted routing task, short: one seed, p = 0.3, fewer epochs than the study's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.studies import routing
from benchmarks.studies.routing import Outcome, Settings, make_images, study, table, train

SHORT = Settings(epochs=8)
# The softmax does not see a constant added to all scores, so this one has no slope to follow.
INVISIBLE = "block.attention.score.bias"


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    return {mode: train(mode, 0.3, 0, SHORT) for mode in routing.SPARSE}


@pytest.mark.parametrize("mode", ["weighted", "straight_through", "positive_start"])
def test_an_attention_that_learns_finds_where_to_look(
    outcomes: dict[str, Outcome], mode: routing.Mode
) -> None:
    assert outcomes[mode].test_accuracy[-1] >= 0.97


def test_hard_does_not(outcomes: dict[str, Outcome]) -> None:
    assert 0.55 < outcomes["hard"].test_accuracy[-1] < 0.8


def test_every_attention_tensor_learns_unless_the_selection_is_hard(
    outcomes: dict[str, Outcome],
) -> None:
    hard = outcomes["hard"].gradients
    assert len(hard) == 5
    assert set(hard.values()) == {0.0}
    for mode in ("weighted", "straight_through", "positive_start"):
        slopes = outcomes[mode].gradients
        assert slopes.keys() == hard.keys()
        assert all(slope > 1e-4 for name, slope in slopes.items() if name != INVISIBLE), mode


def test_no_network_without_the_query_beats_the_majority() -> None:
    images = make_images(4096, torch.Generator().manual_seed(0))
    image, half = images.pixels[:, 0], routing.PATCH
    # Stripes down the columns leave the variance in the rows' mean, and the other way round.
    patches = image.unfold(1, half, half).unfold(2, half, half).flatten(1, 2)
    shown = (patches.mean(3).var(2) > patches.mean(2).var(2)).long()
    named = shown.gather(1, images.queries.argmax(1)[:, None])[:, 0]
    assert (named == images.labels).float().mean() > 0.99
    votes = shown.sum(1)
    majority = torch.where(votes == 2, shown[:, 0], (votes > 2).long())
    assert abs(float((majority == images.labels).float().mean()) - routing.MAJORITY) < 0.03


def test_same_seed_same_network() -> None:
    tiny = replace(SHORT, train_images=128, test_images=64, epochs=1)
    assert train("weighted", 0.5, 3, tiny) == train("weighted", 0.5, 3, tiny)


def test_study_fills_table_json_and_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = replace(SHORT, train_images=128, test_images=64, epochs=2)
    monkeypatch.setattr(routing, "Settings", lambda: tiny)
    arguments = ["--seeds", "1", "--p", "0.3"]
    arguments += ["--results", str(tmp_path / "r.json"), "--figure", str(tmp_path / "f.png")]
    monkeypatch.setattr("sys.argv", ["routing", *arguments])
    routing.main()
    kept = json.loads((tmp_path / "r.json").read_text())
    assert [(each["mode"], each["p"]) for each in kept["outcomes"]] == [
        *((mode, 0.3) for mode in routing.SPARSE),
        ("dense", None),
    ]
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["f.png", "r.json"]
    printed = capsys.readouterr().out
    assert "weighted" in printed
    assert "4 of 4" in printed


def test_table_has_a_line_per_mode_and_p() -> None:
    tiny = replace(SHORT, train_images=64, test_images=64, epochs=1)
    assert len(table(study([0], [0.5, 1.0], tiny))) == 1 + 2 * len(routing.SPARSE) + 1
