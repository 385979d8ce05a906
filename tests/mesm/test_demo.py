"""The demo from nothing to the report, with as little as will do."""

import json
from pathlib import Path

import pytest

from mesm.demo import Stages, run_demo

OVERRIDES = ("training.epochs=1", "model.channels=[4,8,8,8]", "model.hidden=16")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    run_demo(out, clips=20, overrides=OVERRIDES)
    return out


def test_everything_is_there(demo: Path) -> None:
    assert (demo / "report.html").stat().st_size > 100_000
    for name in ("fe2e", "mesm"):
        assert "test" in json.loads((demo / "runs" / name / "evaluation.json").read_text())
        assert (demo / "runs" / name / "reliability" / "test.png").is_file()
    assert (demo / "runs" / "mesm" / "sweep.png").is_file()
    assert (demo / "runs" / "mesm" / "explain" / "faces.png").is_file()
    scores = json.loads((demo / "runs" / "mesm" / "explain" / "action_units.json").read_text())
    assert scores["clips"] > 0
    assert scores["clips_without_ground_truth"] == 0


def test_second_call_only_writes_the_report_again(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stamps() -> dict[Path, int]:
        files = (path for path in demo.rglob("*") if path.is_file())
        return {path: path.stat().st_mtime_ns for path in files}

    before = stamps()
    capsys.readouterr()
    run_demo(demo, clips=20, overrides=OVERRIDES)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == str((demo / "report.html").resolve())
    changed = {path.name for path, stamp in stamps().items() if before.get(path) != stamp}
    assert changed <= {"report.html", "demo.json"}


def test_other_settings_and_foreign_folders_are_refused(demo: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds a demo with"):
        run_demo(demo, clips=21, overrides=OVERRIDES)
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(ValueError, match="no demo wrote"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_stages_say_what_was_done_and_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    stages = Stages(total=2)
    calls: list[str] = []
    stages.run("first", lambda: True, lambda: calls.append("first"))
    stages.run("second", lambda: False, lambda: calls.append("second"))
    assert calls == ["second"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[1/2] first: done already"
    assert lines[-1].startswith("[2/2] second: 0 s")
