"""One training per p: which are taken, which are made, and what is measured of them."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from mesm.analysis import retrain as module
from mesm.analysis.retrain import retrain
from mesm.analysis.sweep import sweep
from mesm.config.files import load_config
from mesm.evaluation.bootstrap import Bootstrap
from mesm.evaluation.evaluate import score_run
from mesm.evaluation.run import Run
from mesm.training.loop import train


@pytest.fixture(scope="module")
def run(tiny_mesm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run at p = 0.5."""
    return shutil.copytree(tiny_mesm, tmp_path_factory.mktemp("retrain") / "mesm")


@pytest.fixture(scope="module")
def others(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: at p = 0.3, and at p = 0.7 with another seed."""
    folder = tmp_path_factory.mktemp("others")
    config = run / "config.yaml"
    train(load_config(config, ["model.p=0.3"]), folder / "same")
    train(load_config(config, ["model.p=0.7", "training.seed=1"]), folder / "other_seed")
    return folder


@pytest.fixture(scope="module")
def retrained(run: Path, others: Path, tiny_fe2e: Path) -> dict:
    return retrain(run, [0.3, 0.5, 0.7], baseline=tiny_fe2e, runs=[others], repeats=2)


def test_files(retrained: dict, run: Path) -> None:
    assert json.loads((run / "retrain.json").read_text()) == retrained
    assert json.loads((run / "sweep.json").read_text())["points"][0]["p"] == 0.3
    assert (run / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_takes_what_there_is_and_trains_the_rest(retrained: dict, run: Path) -> None:
    assert [point["run"] for point in retrained["points"]] == ["same", "mesm", "retrain/p-0.7"]
    assert [path.name for path in (run / "retrain").iterdir()] == ["p-0.7"]
    one, two = (
        yaml.safe_load((path / "config.yaml").read_text())
        for path in (run, run / "retrain" / "p-0.7")
    )
    assert (one["model"].pop("p"), two["model"].pop("p")) == (0.5, 0.7)
    assert one == two


def test_each_point_is_its_own_model(retrained: dict, run: Path, others: Path) -> None:
    folders = [others / "same", run, run / "retrain" / "p-0.7"]
    for point, folder in zip(retrained["points"], folders, strict=True):
        scores = score_run(Run.open(folder), "test", Bootstrap(draws=10))
        assert point["average"] == scores["average"]
        assert point["clips"] == 7
        assert point["epochs"] == 2
        assert len(point["latency_ms_per_clip"]["all"]) == 2
        assert set(point["active_sites"]) == {"face", "audio"}
    flops = [point["flops_per_clip"]["total"] for point in retrained["points"]]
    assert flops[0] < flops[-1]


def test_again_trains_nothing(retrained: dict, run: Path, others: Path, monkeypatch) -> None:
    def run_unfinished(jobs, resources):
        assert all(job.done() for job in jobs)
        return {}

    monkeypatch.setattr(module, "run_unfinished", run_unfinished)
    again = retrain(run, [0.3, 0.7], runs=[others / "same"], repeats=1)
    first = {point["p"]: point["average"] for point in retrained["points"]}
    assert {point["p"]: point["average"] for point in again["points"]} == {
        p: first[p] for p in (0.3, 0.7)
    }


def test_a_plain_sweep_keeps_the_second_curve(retrained: dict, run: Path, monkeypatch) -> None:
    drawn = []
    original = module.draw_p_curve

    def draw(swept, others=None):
        drawn.append(others)
        return original(swept, others)

    monkeypatch.setattr("mesm.analysis.sweep.draw_p_curve", draw)
    sweep(run, [0.5], repeats=1)
    sweep(run, [0.5], split="valid", repeats=1)
    assert drawn[0]["conventions"]["points"] == "one training per p"
    assert drawn[1] is None


def test_failed_trainings_are_named(run: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "run_unfinished", lambda jobs, resources: {"p-0.9": "no memory"})
    with pytest.raises(ValueError, match=r"1 of 1 trainings failed; p-0\.9: no memory"):
        retrain(run, [0.5, 0.9])


def test_refusals_write_nothing(tiny_mesm, tiny_fe2e, tmp_path) -> None:
    copy = shutil.copytree(tiny_mesm, tmp_path / "run")
    before = sorted(path.name for path in copy.iterdir())
    with pytest.raises(ValueError, match="wanted a MESM run, got FE2E"):
        retrain(tiny_fe2e, [0.5])
    with pytest.raises(ValueError, match=r"--runs .*: holds no run"):
        retrain(copy, [0.3], runs=[tmp_path / "none"])
    with pytest.raises(ValueError, match="--jobs must be at least 1"):
        retrain(copy, [0.3], jobs=0)
    with pytest.raises(ValueError, match=r"p must be in \(0, 1\]"):
        retrain(copy, [0.0])
    state = copy / "last" / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"finished": None}))
    with pytest.raises(ValueError, match="not finished"):
        retrain(copy, [0.3])
    assert sorted(path.name for path in copy.iterdir()) == before


def test_weights_to_start_from_are_missed_before_any_work(tiny_mesm, tmp_path, monkeypatch) -> None:
    """A run that is moved to where its text encoder is not can be swept, and not trained again."""
    copy = shutil.copytree(tiny_mesm, tmp_path / "run")
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["model"]["text"]["path"] = str(tmp_path / "albert")
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(module, "run_unfinished", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr(module, "sweep", lambda *_, **__: pytest.fail("swept"))
    # The run's own model is of no encoder, so it is not opened here.
    monkeypatch.setattr(module.Run, "open_sparse", lambda path, **options: Run(path, **options))
    with pytest.raises(
        ValueError, match=r"model\.text\.path: .*albert is no folder; put that where"
    ):
        retrain(copy, [0.3])
    assert not (copy / "retrain").exists()
