"""`mesm prepare table`: its check, its example, and options that other corpora do not have."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mesm.cli import app
from tests.mesm.corpora.tiny_media import video_bytes


def mesm(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], prog_name="mesm")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of texts alone, which need no media."""
    rows = [f"words {i},{'gs'[i % 2]},{('train', 'valid', 'test')[i // 2]}" for i in range(6)]
    file = tmp_path / "clips.csv"
    file.write_text("\n".join(["text,emotion,split", *rows]) + "\n", encoding="utf-8")
    return file


def test_a_check_ends_with_0_where_all_is_right(table: Path, tmp_path: Path) -> None:
    done = mesm("prepare", "table", table, "--check")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == [
        f"{table}: 6 clips, 0:00:00 h, 6 speakers, 6 groups; split: column",
        "              train  valid   test",
        "g                 1      1      1",
        "s                 1      1      1",
        "all               2      2      2",
        "exactly one emotion a clip",
        "no sound: all clips, such as clips_2",
        "no pictures: all clips, such as clips_2",
    ]
    assert list(tmp_path.iterdir()) == [table]


def test_a_check_ends_with_1_and_names_all_that_is_wrong(table: Path) -> None:
    table.write_text(table.read_text().replace("valid", "val"), encoding="utf-8")
    done = mesm("prepare", "table", table, "--check")
    assert done.exit_code == 1
    assert done.output.splitlines() == [
        "line 4, column split: wanted train, valid, test, got 'val'",
        "line 5, column split: wanted train, valid, test, got 'val'",
        f"{table}: 2 things are wrong",
    ]
    done = mesm("prepare", "table", table, table.parent / "out")
    assert done.exit_code == 2
    assert done.output.splitlines()[-1] == (
        f"mesm: {table}: 2 things are wrong; mend what the lines above name"
    )
    assert done.output.splitlines()[0].startswith("line 4, column split: ")
    assert not (table.parent / "out").exists()
    assert mesm("prepare", "table", table, "--check", "--split", "random").exit_code == 1
    assert mesm("prepare", "table", table, "--check", "--labels", "g,s", "--split=column").exit_code


def test_a_split_that_decoding_emptied_is_told_in_the_end(tmp_path: Path) -> None:
    cut = video_bytes(form="matroska")
    cut = cut[: len(cut) // 2]
    rows = []
    for place, split in enumerate(("train", "test", "valid")):
        for emotion in "gs":
            name = f"{split}-{emotion}"
            if split == "valid":
                (tmp_path / f"{name}.mkv").write_bytes(cut + name.encode())
            film = f"{name}.mkv,1" if split == "valid" else ","
            rows.append(f"{film},said {place},{emotion},{split},{name}")
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(["video,end,text,emotion,split,speaker", *rows]), encoding="utf-8")
    assert mesm("prepare", "table", table, "--check").exit_code == 0
    done = mesm("prepare", "table", table, tmp_path / "out", "--workers", 1)
    assert done.exit_code == 1, done.output
    assert done.stderr.splitlines()[-1] == (
        f"mesm: {tmp_path / 'out'}: prepared, but without a clip in valid; see above"
    )
    told = [
        "the valid split has no clip, so every training on these splits will be refused, though "
        "not on folds; mend the "
        "clips that were left out, see manifest.json, and prepare again; or put other clips there "
        "in the corpus' own split, or take another --split and folder",
        "of 2 of 6 speakers no clip is left (valid-g, valid-s), and folds by speaker will lack "
        "them; mend the clips that were left out, see manifest.json, and prepare again",
    ]
    assert done.stdout.splitlines()[-2:] == told
    again = mesm("prepare", "table", table, tmp_path / "out", "--workers", 1)
    assert again.exit_code == 1
    assert again.stdout.splitlines() == [
        f"{tmp_path / 'out'} is already prepared: nothing to do",
        *told,
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("iemocap", "x", "y", "--labels", "a"),
            "without --labels, which is for crema_d, table",
        ),
        (("mosei", "x", "y", "--above", "1"), "mosei is read without --above, which is for table"),
        (
            ("iemocap", "x", "y", "--name", "a"),
            "without --name, which is for table",
        ),
        (("iemocap", "x", "--check"), "--check is for table, not for iemocap"),
        (("iemocap", "--example", "x"), "--example is for table, not for iemocap"),
        (("table",), "missing argument 'RAW'"),
        (("table", "x.csv"), "missing argument 'OUT'"),
        (("table", "x.csv", "y", "--example", "z"), "--example only writes a table"),
        (("table", "x.csv", "y"), "x.csv is not there"),
        (("table", "x.csv", "--check"), "x.csv is not there"),
        (("table", "x.csv", "--check", "--splits", "y"), "--check knows no lists"),
    ],
)
def test_options_of_others_and_missing_arguments(
    words: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = mesm("prepare", *words)
    assert done.exit_code == 2, done.output
    assert told in done.output
    assert done.output.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
