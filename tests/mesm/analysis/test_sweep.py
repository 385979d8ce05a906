"""The p-curve of a tiny run."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from mesm.analysis.explain import explain
from mesm.analysis.sweep import _norms, parse_p_values, sweep, sweep_lines
from mesm.config.files import load_config
from mesm.evaluation.evaluate import evaluate_run
from mesm.evaluation.run import Run
from mesm.models import MESM
from mesm.report.page import write_report
from mesm.report.tables import sweep_tables
from mesm.training.loop import train

SMALL = [
    *("model.channels=[4,8,8,8]", "model.hidden=16", "model.dim=8", "model.heads=2"),
    *("model.layers=1", "model.feedforward=16", "model.text.vocabulary=60"),
    *("model.text.embedding=8", "model.text.hidden=16", "model.text.heads=2"),
    *("model.text.layers=1", "model.text.feedforward=16"),
]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.1:1.0:0.1", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        ("0.5:0.5:0.1", [0.5]),
        ("0.2:0.5:0.2", [0.2, 0.4]),
        ("1,0.5,0.1,0.5", [0.1, 0.5, 1.0]),
        ("0.7", [0.7]),
    ],
)
def test_parse(text: str, values: list[float]) -> None:
    assert parse_p_values(text) == values


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "1.1", "nan", "a,b", "0.1:1.0", "0.1:1.0:0", "0.1:1.0:-0.1", "1:0.1:0.1"),
        *("0:1:0.1", "0.1:1:0.00001", "-1:1:0.5", "0.5:1.5:0.5", "inf", "0.1:inf:0.1", "1:2:3:4"),
    ],
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="p must be"):
        parse_p_values(text)


@pytest.fixture(scope="module")
def run(tiny_mesm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(tiny_mesm, tmp_path_factory.mktemp("swept") / "mesm")


@pytest.fixture(scope="module")
def swept(run: Path, tiny_fe2e: Path) -> dict:
    return sweep(run, [1.0, 0.1, 0.5], baseline=tiny_fe2e, repeats=2)


def test_files_hold_what_is_returned(swept: dict, run: Path) -> None:
    assert json.loads((run / "sweep.json").read_text()) == swept
    assert (run / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert not list(run.glob(".*"))


def test_point_at_the_run_s_p_scores_as_its_evaluation(swept: dict, run: Path) -> None:
    evaluation = json.loads((run / "evaluation.json").read_text())["test"]
    point = next(point for point in swept["points"] if point["p"] == 0.5)
    for key in ("clips", "emotions", "average", "threshold"):
        assert point[key] == evaluation[key]
    assert swept["metric"] == evaluation["headline"]


def test_baseline_scores_as_its_evaluation(swept: dict, tiny_fe2e: Path) -> None:
    evaluation = json.loads((tiny_fe2e / "evaluation.json").read_text())["test"]
    assert swept["baseline"]["average"] == evaluation["average"]
    assert "active_sites" not in swept["baseline"]


def test_computation_rises_with_p_and_reaches_fe2e(swept: dict) -> None:
    assert [point["p"] for point in swept["points"]] == [0.1, 0.5, 1.0]
    flops = [point["flops_per_clip"]["total"] for point in swept["points"]]
    assert flops == sorted(flops)
    assert flops[0] < flops[-1]
    # At p = 1 MESM convolves everywhere, but not over the border's zeros, and adds its attention.
    last, dense = swept["points"][-1]["flops_per_clip"], swept["baseline"]["flops_per_clip"]
    convolutions = last["total"] - last["attention"]
    assert convolutions == pytest.approx(dense["total"], rel=0.25)
    assert convolutions <= dense["total"]
    assert last["attention"] > 0
    assert dense["attention"] == 0
    assert sum(last["by_op"].values()) == pytest.approx(last["total"])
    assert sum(last["by_modality"].values()) == pytest.approx(last["total"])


def test_active_sites(swept: dict) -> None:
    for point in swept["points"]:
        assert set(point["active_sites"]) == {"face", "audio"}
        for shares in point["active_sites"].values():
            assert len(shares) == 3
            assert all(0 < share <= 1 for share in shares)
    assert swept["points"][-1]["active_sites"] == {"face": [1.0] * 3, "audio": [1.0] * 3}


def test_latency_says_how_it_was_measured(swept: dict) -> None:
    setting = swept["latency_setting"]
    assert setting["threads"] == torch.get_num_threads()
    assert (setting["dtype"], setting["batch_size"], setting["repeats"]) == ("float32", 7, 2)
    for point in [*swept["points"], swept["baseline"]]:
        latency = point["latency_ms_per_clip"]
        assert 0 < latency["extraction"] < latency["model"]
        assert len(latency["all"]) == 2


def test_environment_and_seed_are_recorded(swept: dict) -> None:
    assert swept["seed"] == 0
    assert swept["environment"]["versions"]["torch"] == str(torch.__version__)
    assert swept["environment"]["cpu"]


def test_flops_are_those_of_the_dense_layers(swept: dict, tiny_fe2e: Path) -> None:
    """Counted by hand: 2 per multiply–accumulate of every convolution, per clip."""
    model = Run.open(tiny_fe2e, device="cpu").model
    assert not isinstance(model, MESM)
    a, b, c, d = model.channels
    pairs = [(a, b, 1), (b, c, 4), (c, d, 16)]
    per_site = sum((9 * i * o + 9 * o * o) / shrink for i, o, shrink in pairs)
    face = 48 * 48 * 25 * 3 * a + 24 * 24 * (4 * 9 * a * a + per_site)
    chunk = 128 * 32 * 25 * a + 64 * 16 * (4 * 9 * a * a + per_site)
    assert swept["baseline"]["flops_per_clip"]["total"] == pytest.approx(2 * (3 * face + 3 * chunk))


@pytest.fixture(scope="module")
def own(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without text, whose sound asks, and whose blocks keep different shares."""
    overrides = ["model.p={face: [0.3, 0.9, 1], audio: 0.6}", "model.query=audio"]
    overrides += ["model.modalities=va", "training.epochs=1", "training.p_warmup_epochs=1"]
    run = tmp_path_factory.mktemp("own") / "run"
    train(load_config("iemocap_mesm", [f"corpus={tiny_corpus}", *SMALL, *overrides]), run)
    evaluate_run(run)
    return run


def test_a_p_per_block_gets_a_point_of_its_own(own: Path) -> None:
    result = sweep(own, [0.5], repeats=1)
    assert result["trained_p"] == {"face": [0.3, 0.9, 1.0], "audio": 0.6}
    point = result["own_point"]
    assert point["p"] == result["trained_p"]
    evaluation = json.loads((own / "evaluation.json").read_text())["test"]
    assert point["average"] == evaluation["average"]
    assert point["active_sites"]["face"][0] < point["active_sites"]["audio"][0]
    assert set(point["flops_per_clip"]["by_modality"]) == {"face", "audio", "query"}
    assert point["latency_ms_per_clip"]["model"] > 0
    costs, sites = sweep_tables(result)
    for table in (costs, sites):
        names = [row.cells[0].text for row in table.rows]
        assert names == ["p = 0.5", "p = face 0.3/0.9/1, audio 0.6"]
    explain(own, "test_000")
    kept = json.loads((own / "explain" / "test_000" / "kept_sites.json").read_text())
    assert kept["p"] == result["trained_p"]
    page = write_report(own.parent / "report.html", [own]).read_text()
    assert "MESM (p = face 0.3/0.9/1, audio 0.6, audio as query, AV)" in page


def test_a_p_for_all_needs_no_point_of_its_own(swept: dict) -> None:
    assert swept["own_point"] is None


def test_without_baseline_and_on_another_split(tiny_mesm: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_mesm, run)
    result = sweep(run, [0.3], split="valid", repeats=1)
    assert result["baseline"] is None
    assert (result["split"], result["clips"]) == ("valid", 6)


def test_refusals_write_nothing(tiny_mesm: Path, tiny_fe2e: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_fe2e, run)
    before = sorted(path.name for path in run.iterdir())
    with pytest.raises(ValueError, match="wanted a MESM run, got FE2E"):
        sweep(run, [0.5])
    with pytest.raises(ValueError, match=r"p must be in \(0, 1\], got 1.5"):
        sweep(run, [1.5])
    with pytest.raises(ValueError, match="at least one value"):
        sweep(run, [])
    with pytest.raises(ValueError, match="wanted an FE2E run"):
        sweep(tiny_mesm, [0.5], baseline=tiny_mesm)
    with pytest.raises(ValueError, match="timed pass"):
        sweep(tiny_mesm, [0.5], repeats=0)
    assert sorted(path.name for path in run.iterdir()) == before


def test_norms_are_counted_at_every_p_but_the_run_s_own(run: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(run, tmp_path / "mesm")
    weights = (copied / "model.safetensors").read_bytes()
    as_trained = sweep(copied, [0.5, 1.0], repeats=1)
    counted = sweep(copied, [0.5, 1.0], repeats=1, norm_clips=8)
    assert "norm_clips" not in as_trained
    assert counted["norm_clips"] == 8
    own, other = ([found["points"][place] for found in (as_trained, counted)] for place in (0, 1))
    assert own[0]["average"] == own[1]["average"]
    assert other[0]["flops_per_clip"] == other[1]["flops_per_clip"]
    assert other[0]["active_sites"] == other[1]["active_sites"]
    assert (copied / "model.safetensors").read_bytes() == weights


def test_norms_statistics_are_put_back(run: Path) -> None:
    opened = Run.open_sparse(run)
    before = {name: buffer.clone() for name, buffer in opened.model.named_buffers()}
    with _norms(opened, 8):
        assert any(not torch.equal(b, before[n]) for n, b in opened.model.named_buffers())
    assert all(torch.equal(b, before[n]) for n, b in opened.model.named_buffers())
    with pytest.raises(ValueError, match="no negative number of clips"):
        sweep(run, [0.5], norm_clips=-1)


def test_one_emotion_a_clip_has_its_metrics_at_every_p(
    single_mesm: Path, single_fe2e: Path, tiny_fe2e: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(single_mesm, tmp_path / "mesm")
    swept = sweep(run, [0.5, 1.0], baseline=single_fe2e, repeats=1)
    for point, folder in ((swept["points"][0], run), (swept["baseline"], single_fe2e)):
        wanted = json.loads((folder / "evaluation.json").read_text())["test"]
        assert point["average"] == pytest.approx(wanted["average"])
        assert point["confusion"] == wanted["confusion"]
    assert swept["metric"] == "accuracy"
    head = sweep_lines(swept)[1].split()
    assert head[:5] == ["p", "Acc", "UAR", "WF1", "MF1"]
    (table, _) = sweep_tables(swept)
    assert table.head[1:5] == ("Acc", "UAR", "WF1", "MF1")
    with pytest.raises(ValueError, match="baseline has another task, several emotions a clip"):
        sweep(run, [0.5], baseline=tiny_fe2e)
