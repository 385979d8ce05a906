"""The model that comes with the library: small, clean, and sure of drawn faces."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from typer.testing import CliRunner

from mesm import Pipeline
from mesm.cli import app
from mesm.corpora.table.example import write_example
from mesm.inference.loading import DEMO_MODEL, load_trained
from mesm.publishing.contents import FILES

FILES_OF_IT = {file.name: file for file in DEMO_MODEL.iterdir()}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four generated films of docs/own_corpus.md, with their table."""
    return write_example(tmp_path_factory.mktemp("demo") / "my", workers=1).parent


def test_it_is_small_and_says_nothing_of_where_it_was_made() -> None:
    assert set(FILES_OF_IT) == set(FILES)
    assert sum(file.stat().st_size for file in FILES_OF_IT.values()) < 6_000_000
    for name, file in FILES_OF_IT.items():
        if file.suffix in (".json", ".md"):
            places = re.findall(r"[\s\"'(](/[\w.-]+/[\w./-]+)", file.read_text(encoding="utf-8"))
            assert places == [], name
    assert not re.search(rb"/(?:tmp|home|root|work|usr)/", FILES_OF_IT["p_curve.png"].read_bytes())


def test_its_card_reads_back_and_says_what_it_knows() -> None:
    found = ModelCard.load(FILES_OF_IT["README.md"])
    assert (found.data.license, found.data.library_name) == ("apache-2.0", "mesm")
    assert "**It knows drawn faces and made-up sounds only.**" in found.text
    (f1,) = (result for result in found.data.eval_results if result.metric_type == "f1")
    scores = json.loads(FILES_OF_IT["metrics.json"].read_text())["test"]
    assert f1.metric_value == round(scores["average"]["f1"], 4) > 0.85


def test_it_finds_what_was_planted(films: Path) -> None:
    pipeline = Pipeline.from_pretrained("demo", "cpu")
    with (films / "clips.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (row["video"], float(row["start"])))
    right = []
    for video in sorted({row["video"] for row in rows}):
        mine = [row for row in rows if row["video"] == video]
        with (films / "pieces.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, ("start", "end", "text"), extrasaction="ignore")
            table.writeheader()
            table.writerows(mine)
        found = pipeline.stream(films / video, segments=films / "pieces.csv")
        for row, piece in zip(mine, found, strict=True):
            assert piece.faces == piece.frames
            if row["emotion"] in pipeline.emotions:  # it never learnt "surprised"
                right.append(piece.decided == (row["emotion"],))
    # 9 of 9 when it was published.
    assert len(right) == 9
    assert sum(right) >= 8


def test_the_word_demo_names_it_on_the_command_line(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()  # as `make demo` leaves one
    done = CliRunner().invoke(app, ["predict", "demo", str(films / "films/film01.mp4")])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("MESM of mesm's demo model (weights ")
    assert "it knows drawn faces and made-up sounds only" in done.stdout


@pytest.mark.parametrize("words", [[], ["demo"], ["my film.mp4"]])
def test_a_command_without_a_run_names_it(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my film.mp4").touch()
    done = CliRunner().invoke(app, ["predict", *words])
    assert done.exit_code == 2
    shown = "'my film.mp4'" if words == ["my film.mp4"] else "me.mp4"
    assert done.stderr.splitlines() == [
        "mesm: predict: wanted RUN and then recordings; without a run of your own, take the model "
        f"that comes with mesm: mesm predict demo {shown}"
    ]


def test_a_folder_demo_is_a_folder_where_a_path_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (Path("demo"), "./demo"):
        with pytest.raises(ValueError, match=r"^demo: no trained run"):
            load_trained(place)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/config.yaml").touch()
    with pytest.raises(ValueError, match=r"write ./demo for the folder"):
        load_trained("demo")
