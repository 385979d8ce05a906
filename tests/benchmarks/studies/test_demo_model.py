"""The demo model is made of a run of the study, and must stay small."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.studies import demo_model


def test_a_model_that_grew_too_large_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def publish(run: Path, out: Path, *, name: str) -> None:
        asked.append((run, name))
        out.mkdir()
        (out / "model.safetensors").write_bytes(bytes(size))

    monkeypatch.setattr(demo_model, "publish", publish)
    size = 1000
    demo_model.main([str(tmp_path), "--folder", str(tmp_path / "small")])
    assert capsys.readouterr().out == f"{tmp_path / 'small'}: 1,000 bytes\n"
    assert asked == [(tmp_path / "clips3000_seed21" / demo_model.RUN, "mesm-demo")]
    size = demo_model.MOST_BYTES
    with pytest.raises(SystemExit, match="wanted fewer than 6,000,000"):
        demo_model.main([str(tmp_path), "--folder", str(tmp_path / "large")])
