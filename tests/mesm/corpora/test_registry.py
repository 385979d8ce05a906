"""A corpus is a reader and a row: with these, every command knows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mesm.corpora.miniature.emotions import IEMOCAP_CODES, MOSEI_COLUMNS
from mesm.corpora.miniature.generate import generate
from mesm.corpora.mosei import AUDIO, VIDEOS, read_mosei
from mesm.corpora.registry import CORPORA, find_corpus, reader_of
from tests.mesm.conftest import SMALL
from tests.mesm.corpora.toy_corpus import EMOTIONS

# The row, and then the commands as they are typed.
SCRIPT = """
import json, sys, torch
from mesm.corpora.registry import CORPORA, Corpus
from tests.mesm.corpora.toy_corpus import EMOTIONS, read_toy
CORPORA["toy"] = Corpus("toy", "Toy", EMOTIONS, read_toy, "weighted_accuracy")
from mesm.cli import app
torch.set_num_threads(1)
for command in json.loads(sys.argv[1]):
    app(command, standalone_mode=False)
"""


def test_rows_hold_emotions_in_their_order_accuracies_and_splits() -> None:
    assert {name: corpus.emotions for name, corpus in CORPORA.items()} == {
        "iemocap": ("angry", "excited", "frustrated", "happy", "neutral", "sad"),
        "mosei": ("angry", "disgusted", "fear", "happy", "sad", "surprised"),
        "meld": ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"),
        "ravdess": (
            *("neutral", "calm", "happy", "sad"),
            *("angry", "fearful", "disgust", "surprised"),
        ),
        "crema_d": ("anger", "disgust", "fear", "happy", "neutral", "sad"),
        "table": (),  # brings its own
    }
    assert {name: (corpus.accuracy, corpus.split) for name, corpus in CORPORA.items()} == {
        "iemocap": ("accuracy", "random"),
        "mosei": ("weighted_accuracy", "random"),
        "meld": ("accuracy", "column"),
        "ravdess": ("accuracy", "speaker"),
        "crema_d": ("accuracy", "speaker"),
        "table": ("weighted_accuracy", "random"),
    }
    assert all(corpus.name == name for name, corpus in CORPORA.items())


def test_the_miniature_spells_every_label_that_the_readers_know() -> None:
    assert tuple(IEMOCAP_CODES) == find_corpus("iemocap").emotions
    assert tuple(MOSEI_COLUMNS) == find_corpus("mosei").emotions


def test_a_corpus_that_is_none_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"be one of iemocap, mosei, .*, table, got 'cinema'"):
        find_corpus("cinema")


@pytest.mark.parametrize(
    ("corpus", "options", "message"),
    [
        ("iemocap", {"song": True}, "iemocap is read without --song, which is for ravdess"),
        (
            "ravdess",
            {"labels": "rated"},
            "ravdess is read without --labels, which is for crema_d, table",
        ),
        ("meld", {"loud": 1}, "meld is read without --loud; no corpus knows it"),
    ],
)
def test_options_of_another_reader_are_refused(
    corpus: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError) as refused:
        reader_of(corpus, options)
    assert str(refused.value) == message


def test_a_reader_takes_its_options(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="song must be true or false, got 3"):
        reader_of("ravdess", {"song": 3})(tmp_path)
    with pytest.raises(ValueError, match="is not IEMOCAP"):
        reader_of("iemocap", {})(tmp_path)


def test_readers_of_videos_are_imported_only_to_read() -> None:
    script = "import sys, mesm.corpora.registry; print('av' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        check=True,
    )
    assert done.stdout.split() == ["False", "False"]


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A raw toy corpus: the media of a miniature one under other names and labels."""
    made, raw = tmp_path / "made", tmp_path / "raw"
    generate(made, clips=9, seed=1, layout="mosei", workers=1)
    raw.mkdir()
    lines = []
    for place, utterance in enumerate(read_mosei(made).utterances):
        for folder, ending in ((VIDEOS[0], "mp4"), (AUDIO[0], "wav")):
            file = made / folder / f"{utterance.dialog}.{ending}"
            (raw / file.name).write_bytes(file.read_bytes())
        fields = [f"toy{place}", utterance.dialog, utterance.start, utterance.end]
        lines.append([*fields, EMOTIONS[place % 3], utterance.text])
    lines.append(["toy9", utterance.dialog, 0.0, 1.0, "bored", "who knows"])
    text = "\n".join("\t".join(map(str, line)) for line in lines)
    (raw / "clips.tsv").write_text(text + "\n", encoding="utf-8")
    return raw


def test_a_new_corpus_goes_from_raw_to_tables_by_one_file_and_one_row(
    toy: Path, tmp_path: Path
) -> None:
    prepared, run, tables, page = (tmp_path / name for name in ("toy", "run", "tables", "p.html"))
    commands = [
        ["prepare", "toy", toy, prepared, "--min-face-size", "80", "--workers", "1"],
        ["train", "miniature_mesm", f"corpus={prepared}", *SMALL, "--run", run],
        ["evaluate", run],
        ["sweep", run, "--p", "0.5"],
        ["explain", run],
        *(["table", name, run, "--out", tables] for name in ("results", "ablation", "sweep")),
        ["table", "splits", prepared, "--out", tables],
        ["report", page, run],
    ]
    subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(commands, default=str)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        cwd=Path(__file__).parents[3],
        check=True,
    )
    manifest = json.loads((prepared / "manifest.json").read_text())
    assert (manifest["corpus"], manifest["emotions"]) == ("toy", list(EMOTIONS))
    assert manifest["skipped_by_reason"] == {"unknown label": 1}
    scores = json.loads((run / "evaluation.json").read_text())["test"]
    assert scores["headline"] == "weighted_accuracy"
    assert list(scores["emotions"]) == list(EMOTIONS)
    made = {file.stem: file.read_text() for file in tables.glob("*.md")}
    assert set(made) == {
        "results_toy_test",
        "ablation_toy_test",
        "sweep_toy_test",
        "splits_toy",
    }
    assert made["results_toy_test"].startswith("**Results on Toy**")
    assert made["splits_toy"].startswith("**Toy: clips per emotion and split**")
    assert all("Corpus: Toy; split 70/10/20" in text for text in made.values())
    # The paper prints nothing of it, so there is nothing to leave out either.
    assert not any("figures" in text.partition("**\n")[2] for text in made.values())
    assert "trained and tested on Toy" in page.read_text()
