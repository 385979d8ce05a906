"""Recordings read once and looked at often; one run of a model at a time."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from mesm import Pipeline
from mesm.inference.recording import InputError
from mesm.web import studio as module
from mesm.web.limits import Limits
from mesm.web.studio import Studio


@pytest.fixture(scope="module")
def studio(own_mesm: Path, own_single: Path) -> Studio:
    return Studio.load(own_mesm, own_single, Limits(2, 0.5), "cpu")


def test_figures_are_those_of_the_pipeline(studio: Studio, films: Path, own_mesm: Path) -> None:
    file = films / "film0.mp4"
    looked = studio.read(file, "so happy")
    pipeline = Pipeline.from_pretrained(own_mesm, "cpu")
    assert looked.predictions == list(pipeline(file, text="so happy").pieces)
    view = studio.view(looked, 0, 0.2)
    assert [view.prediction] == list(pipeline.stream(file, text="so happy", p=0.2))
    assert view.attention is not None
    assert view.attention.p == 0.2
    assert view.dense is not None
    assert view.dense_prediction is not None
    assert view.dense_prediction.system == "FE2E"
    assert studio.view(looked, 0).prediction == pipeline(file, text="so happy").pieces[0]


def test_other_words_and_another_p_decode_nothing(
    studio: Studio, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = studio.read(films / "film1.mp4")
    assert silent.predictions[0].missing == ("text",)
    monkeypatch.setattr(module, "open_recording", lambda path: pytest.fail("decodes"))
    told = studio.read(films / "film1.mp4", "how sad", before=silent)
    assert told.predictions[0].missing == ()
    studio.view(told, 0, 0.3)
    again = studio.read(films / "film1.mp4", "so happy", before=told)
    assert again.predictions[0].text == "so happy"


def test_words_are_found_where_none_are_told(
    own_mesm: Path, films: Path, tiny_wav2vec2: Path, tmp_path: Path
) -> None:
    heard = Studio.load(own_mesm, limits=Limits(2, 0.5), device="cpu", transcribe=tiny_wav2vec2)
    looked = heard.read(films / "film0.mp4")
    assert looked.predictions[0].text == "A"
    told = heard.read(films / "film0.mp4", "so happy", before=looked)
    assert told.predictions[0].text == "so happy"
    titles = tmp_path / "a.srt"
    titles.write_text("1\n00:00:00,000 --> 00:00:01,000\nhow sad\n")
    assert heard.read(films / "film0.mp4", "", titles).predictions[0].text == "how sad"
    with pytest.raises(InputError, match=r"--transcribe .* has no config\.json"):
        Studio.load(own_mesm, device="cpu", transcribe=tmp_path)


def test_one_at_a_time(studio: Studio, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = studio.read(films / "film0.mp4", "so happy")
    busy, most, measure = [0], [0], module.measure

    def watched(*told: object) -> object:
        busy[0] += 1
        most[0] = max(most[0], busy[0])
        time.sleep(0.05)
        busy[0] -= 1
        return measure(*told)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "measure", watched)
    found: dict[float, float] = {}

    def work(p: float) -> None:
        found[p] = studio.view(looked, 0, p).cost.flops

    threads = [threading.Thread(target=work, args=(p,)) for p in (0.1, 0.5, 1.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert found[0.1] < found[0.5] < found[1.0]


def test_refusals(studio: Studio, films: Path, own_mesm: Path, tmp_path: Path) -> None:
    titles = tmp_path / "a.srt"
    titles.write_text("1\n00:00:00,000 --> 00:00:01,000\nso happy\n")
    with pytest.raises(InputError, match="give one of them"):
        studio.read(films / "film0.mp4", "so happy", titles)
    assert studio.read(films / "film0.mp4", "", titles).predictions[0].text == "so happy"
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(InputError, match=r"empty.mp4 is empty \(0 bytes\)"):
        studio.read(tmp_path / "empty.mp4")
    with pytest.raises(ValueError, match=r"--dense .*: is MESM, wanted FE2E"):
        Studio.load(own_mesm, own_mesm, device="cpu")


def test_a_dense_run_alone(own_single: Path, films: Path) -> None:
    studio = Studio.load(own_single, device="cpu")
    assert studio.own_p is None
    view = studio.view(studio.read(films / "film0.mp4", "so happy"), 0)
    assert view.attention is None
    assert view.cost.flops == view.cost.dense_flops
