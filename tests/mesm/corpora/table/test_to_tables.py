"""Tables of clips that lack text, pictures or sound, through preparing, training and scoring."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

from mesm.config.files import load_config
from mesm.corpora.prepare import PrepareOptions, prepare
from mesm.corpora.prepared import PreparedCorpus
from mesm.evaluation.evaluate import evaluate_run
from mesm.experiment.grid import load_experiment
from mesm.experiment.plan import check_cells, expand
from mesm.training.loop import train
from tests.mesm.conftest import SMALL

FAST = PrepareOptions(min_face_size=40, workers=1)
LINES = ["so glad", "how sad", "a fine day", "no more", "well then", "never mind"]


def make(media: Path, folder: Path, *columns: str) -> Path:
    """Twelve clips, of two emotions in every split, with some of the columns."""
    for file in media.iterdir():
        (folder / file.name).symlink_to(file)
    table = folder / "clips.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [*columns, "start", "end", "id", "split", "emotion"])
        writer.writeheader()
        for place in range(12):
            row = {
                "video": "mute.mp4" if "audio" in columns or "text" in columns else "a.mp4",
                "audio": "c.wav",
                "text": LINES[place % 6],
                "start": place * 0.1,
                "end": place * 0.1 + 0.6,
                "id": f"clip{place}",
                "split": ("train", "train", "valid", "test")[place // 2 % 4],
                "emotion": ("glad", "sad")[place % 2],
            }
            writer.writerow({k: v for k, v in row.items() if k in writer.fieldnames})
    return table


@pytest.mark.parametrize(
    ("columns", "there", "lacking"),
    [
        (("video",), "av", {"text"}),
        (("audio", "text"), "ta", {"pictures"}),
        (("video", "text"), "tv", {"sound"}),
        (("audio",), "a", {"text", "pictures"}),
        (("text",), "t", {"sound", "pictures"}),
    ],
)
def test_corpora_without_a_modality_train(
    media: Path, tmp_path: Path, columns: tuple[str, ...], there: str, lacking: set[str]
) -> None:
    (tmp_path / "own").mkdir()
    out = tmp_path / "prepared"
    manifest = prepare("table", make(media, tmp_path / "own", *columns), out, FAST)
    assert manifest.modalities == there
    assert {name: len(clips) for name, clips in manifest.without.items()} == dict.fromkeys(
        lacking, 12
    )
    if "a" not in there:
        assert (manifest.spectrogram_mean, manifest.spectrogram_std) == (0.0, 1.0)
    assert manifest.single_label
    assert manifest.title == "Own corpus"
    small = [f"corpus={out}", *SMALL, "training.epochs=1"]
    runs: dict[str, list[str]] = {"own_fe2e": []}
    if there != "t":  # MESM's attention looks at pictures or sound
        query = "text" if "t" in there else "audio"
        runs["own_mesm"] = [] if query == "text" else [f"model.query={query}"]
    for name, overrides in runs.items():
        run = tmp_path / name
        train(load_config(name, [*small, *overrides]), run)
        assert yaml.safe_load((run / "config.yaml").read_text())["model"]["modalities"] == there
        evaluate_run(run, "test")
        assert json.loads((run / "evaluation.json").read_text())["test"]
        # The same settings, written or not, go on in the run's folder.
        train(load_config(name, [*small, *overrides, f"model.modalities={there}"]), run)
        train(load_config(name, [*small, *overrides]), run)


def test_clips_that_lack_something_beside_whole_ones(media: Path, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    table = make(media, tmp_path / "own", "video", "audio", "text")
    lines = table.read_text().splitlines()
    cut = [line.replace("mute.mp4", "").replace("so glad", "") for line in lines[1::2]]
    table.write_text("\n".join([lines[0], *lines[2::2], *cut]) + "\n")
    out = tmp_path / "prepared"
    manifest = prepare("table", table, out, FAST)
    assert manifest.modalities == "tav"
    assert len(manifest.without["pictures"]) == 6
    assert set(manifest.without["text"]) == {"clip0", "clip6"}
    small = [f"corpus={out}", *SMALL, "training.epochs=1"]
    for name in ("own_fe2e", "own_mesm"):
        train(load_config(name, small), tmp_path / name)
        evaluate_run(tmp_path / name, "test")


def test_a_modality_that_is_not_there_is_refused_before_work(media: Path, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    out = tmp_path / "prepared"
    prepare("table", make(media, tmp_path / "own", "video"), out, FAST)
    for name, override, told in (
        ("own_fe2e", "model.modalities=tav", "no training clip of .* has text, got 'tav'"),
        ("own_mesm", "model.p=0.5", r"choose model\.query=face or model\.query=audio"),
    ):
        with pytest.raises(ValueError, match=told):
            train(load_config(name, [f"corpus={out}", *SMALL, override]), tmp_path / "run")
        assert not (tmp_path / "run").exists()
        experiment = tmp_path / "grid.yaml"
        grid = {"configs": [name], "overrides": [*SMALL, override]}
        experiment.write_text(
            yaml.safe_dump(
                {"corpus": str(out), "seeds": [0], "grids": {"g": grid}, "splits": ["test"]}
            )
        )
        with pytest.raises(ValueError, match=told):
            expand(load_experiment(experiment))
    grid = {"configs": ["own_fe2e"], "overrides": SMALL}
    experiment.write_text(
        yaml.safe_dump({"corpus": str(out), "seeds": [0], "grids": {"g": grid}, "splits": ["test"]})
    )
    (cell,) = expand(load_experiment(experiment))
    assert cell.config.model.modalities == "av"
    assert "modalities" not in cell.name
    check_cells([cell], tmp_path, ["test"])


def test_a_prepared_table_is_found_again_and_follows_the_table(media: Path, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    out = tmp_path / "prepared"
    table = make(media, tmp_path / "own", "video")
    first = prepare("table", table, out, FAST)
    written = (out / "manifest.json").stat().st_mtime_ns
    assert prepare("table", table, out, FAST) == first
    assert (out / "manifest.json").stat().st_mtime_ns == written
    options = FAST.model_copy(update={"reading": {"labels": "sad,glad", "name": "Mine"}})
    with pytest.raises(ValueError, match="reading None then"):
        prepare("table", table, out, options)
    again = prepare("table", table, tmp_path / "other", options)
    assert (again.emotions, again.title) == (["sad", "glad"], "Mine")
    assert again.options["reading"] == {"labels": "sad,glad", "name": "Mine"}
    table.write_text(table.read_text().replace("clip3", "clip33"))
    prepare("table", table, out, FAST)
    clips = PreparedCorpus.open(out)
    assert "clip33" in [
        c for name in ("train", "valid", "test") for c in clips.split(name).clip_ids
    ]


@pytest.mark.parametrize(("policy", "unit"), [("speaker", "speaker"), ("group", "dialog")])
def test_splits_by_speaker_and_by_group(
    media: Path, tmp_path: Path, policy: str, unit: str
) -> None:
    for file in media.iterdir():
        (tmp_path / file.name).symlink_to(file)
    rows = ["video,start,end,speaker,group,emotion"]
    for place in range(16):
        who = place // 4
        speaker, group = (
            (f"s{who}", f"g{place}") if policy == "speaker" else (f"s{place}", f"g{who}")
        )
        start = place * 0.1
        rows.append(f"a.mp4,{start:.1f},{start + 0.3:.1f},{speaker},{group},{'xy'[place % 2]}")
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(rows))
    options = FAST.model_copy(update={"split": policy})
    prepare("table", table, tmp_path / "out", options)
    corpus = PreparedCorpus.open(tmp_path / "out")
    sets = [
        {getattr(clip, unit) for clip in corpus.split(name)} for name in ("train", "valid", "test")
    ]
    assert all(sets)
    assert sum(map(len, sets)) == len(set.union(*sets)) == 4


def test_a_corpus_without_sound_trains_in_a_fold(media: Path, tmp_path: Path) -> None:
    table = make(media, tmp_path, "text")
    prepared = tmp_path / "prepared"
    prepare("table", table, prepared, FAST)
    overrides = [f"corpus={prepared}", *SMALL, "fold.by=dialog", "fold.k=3", "fold.index=1"]
    run = train(load_config("own_fe2e", overrides), tmp_path / "run")
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["modalities"] == "t"


def test_other_emotions_or_other_columns_are_prepared_anew(media: Path, tmp_path: Path) -> None:
    table, prepared = make(media, tmp_path, "video"), tmp_path / "prepared"
    assert prepare("table", table, prepared, FAST).emotions == ["glad", "sad"]
    table.write_text(table.read_text().replace("glad", "happy"))
    assert prepare("table", table, prepared, FAST).emotions == ["happy", "sad"]
    # The same files, as sound alone.
    table.write_text(table.read_text().replace("video,", "audio,", 1))
    assert prepare("table", table, prepared, FAST).modalities == "a"


def test_sound_and_pictures_that_change_places_are_prepared_anew(
    media: Path, tmp_path: Path
) -> None:
    (tmp_path / "two.mp4").write_bytes((media / "a.mp4").read_bytes())
    table, prepared = make(media, tmp_path, "video", "audio"), tmp_path / "prepared"
    table.write_text(table.read_text().replace("mute.mp4", "a.mp4").replace("c.wav", "two.mp4"))
    first = prepare("table", table, prepared, FAST).raw
    swapped = table.read_text().replace("video,audio", "audio,video", 1)
    table.write_text(swapped)
    assert prepare("table", table, prepared, FAST).raw != first
