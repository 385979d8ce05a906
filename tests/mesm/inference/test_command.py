"""`mesm predict`: what it shows and writes, and what a bad recording costs."""

from __future__ import annotations

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mesm import Pipeline
from mesm.cli import app
from mesm.inference.command import Request, _Work
from tests.mesm.inference.recordings import film


def run(*arguments: object):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def test_a_table_and_the_same_figures_in_every_form(
    own_mesm: Path, films: Path, tmp_path: Path
) -> None:
    (wanted,) = Pipeline.from_pretrained(own_mesm, "cpu")(films / "film3.mp4", "so sad now").pieces
    rows = {}
    for name in ("a.jsonl", "a.csv", "deep/a.parquet"):
        out = tmp_path / name
        done = run(own_mesm, films / "film3.mp4", "--text", "so sad now", "--out", out)
        assert done.exit_code == 0, done.output
        if out.suffix == ".jsonl":
            (rows[name],) = map(json.loads, out.read_text().splitlines())
            flat = rows[name]
            assert flat["probability"] == wanted.probabilities
            assert flat["threshold"] == wanted.thresholds
            assert flat["calibrated"] == wanted.calibrated
            assert flat["decided"] == list(wanted.decided)
        elif out.suffix == ".csv":
            with out.open(newline="") as file:
                (flat,) = csv.DictReader(file)
            assert {n: float(flat[f"probability_{n}"]) for n in ("happy", "sad")} == (
                wanted.probabilities
            )
            assert flat["person"] == ""
        else:
            (flat,) = pq.read_table(out).to_pylist()
            assert flat["probability_sad"] == wanted.probabilities["sad"]
            assert flat["person"] is None
        assert flat["text"] == "so sad now"
        assert int(flat["faces"]) == int(flat["frames"]) == 4
        assert flat["weights"] == wanted.weights
    assert not list(tmp_path.rglob("*.partial"))
    lines = done.stdout.splitlines()
    assert lines[0].startswith("MESM of ")
    (heads,) = [line for line in lines if "start" in line and "happy" in line]
    row = lines[lines.index(heads) + 1]
    assert row.endswith("“so sad now”")
    assert f"{100 * wanted.probabilities['sad']:.1f}" in row


def test_a_bad_recording_costs_a_line_and_the_rest_goes_on(
    own_single: Path, films: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    film(tmp_path / "good.mp4", 1.2)
    out = tmp_path / "out.csv"
    done = run(own_single, tmp_path, tmp_path / "none.mp4", "--out", out)
    assert done.exit_code == 1
    told = [line for line in done.stderr.splitlines() if line.startswith("mesm: ")]
    assert [line.split()[1] for line in told] == [
        *(str(tmp_path / "bad.mp4"), str(tmp_path / "none.mp4"))
    ]
    assert "no text" in done.stdout
    with out.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["file"], row["missing"]) == (str(tmp_path / "good.mp4"), "text")
    assert row["threshold_happy"] == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "{tmp}/a.txt"], "wanted a file that ends with .jsonl, .csv, .parquet"),
        (["--out", "{tmp}"], "ends with"),
        (["--text", "a", "--subtitles", "{tmp}/a.srt"], "leave --subtitles and --segments out"),
        (["--person", "0"], "--person: wanted a number from 1 on, or all, got '0'"),
        (["{films}/film1.mp4", "--text", "a"], "--text is about one recording, got 2"),
        (["{tmp}"], "holds no recording"),
    ],
)
def test_requests_that_make_no_sense_are_refused_before_any_work(
    own_mesm: Path, films: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    words = [word.format(tmp=tmp_path, films=films) for word in options]
    done = run(own_mesm, films / "film0.mp4", *words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "MESM of" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_several_people(own_mesm: Path, tmp_path: Path) -> None:
    two = film(tmp_path / "two.mp4", 2.2, people=2)
    rows = []
    for person in ("all", "2", "3"):
        out = tmp_path / f"{person}.jsonl"
        done = run(own_mesm, two, "--person", person, "--out", out)
        assert done.exit_code == 0, done.output
        rows.append([json.loads(line) for line in out.read_text().splitlines()])
    everyone, second, third = rows
    assert [(row["person"], row["people"]) for row in everyone] == [(1, 2), (2, 2)]
    assert everyone[0]["probability"] != everyone[1]["probability"]
    # Two people are one batch, one is another: sums in another order.
    for name in ("probability", "calibrated"):
        assert second[0].pop(name) == pytest.approx(everyone[1].pop(name), abs=1e-6)
    assert second == everyone[1:]
    assert (third[0]["missing"], third[0]["frames"]) == (["text", "pictures"], 0)
    assert third[0]["notes"] == ["there is no person 3: 2 seen"]


SCRIPT = """
import sys
from mesm.__main__ import main
import torch
torch.set_num_threads(1)
from mesm.inference.pipeline import Pipeline
before = Pipeline.predict
def slow(self, pieces, p=None):
    found = before(self, pieces, p)
    print("predicted", file=sys.stderr, flush=True)
    if getattr(self, "again", False):
        import time
        time.sleep(60)
    self.again = True
    return found
Pipeline.predict = slow
main()
"""


def test_ctrl_c_keeps_what_is_finished(own_mesm: Path, films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    words = ["predict", own_mesm, films / "film0.mp4", films / "film1.mp4", "--out", out]
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *map(str, words)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        cwd=Path(__file__).parents[3],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    seen = 0
    for line in process.stderr:
        seen += line.endswith("predicted\n")
        if seen == 2:
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(60) == 130
    assert "stopped" in rest
    assert [json.loads(line)["file"] for line in out.read_text().splitlines()] == [
        str(films / "film0.mp4")
    ]


def test_a_full_disk_leaves_nothing_half_written(
    own_mesm: Path, films: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    out.write_bytes(b"the earlier file")

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    done = subprocess.run(
        [sys.executable, "-m", "mesm", "predict", own_mesm, films / "film0.mp4", "--out", out],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        preexec_fn=small_files,
    )
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("mesm: ")]
    assert line == f"mesm: {out}: the disk is full; make room, then run the same command again"
    assert out.read_bytes() == b"the earlier file"
    assert [file.name for file in tmp_path.iterdir()] == ["out.parquet"]


def test_importing_mesm_is_cheap() -> None:
    code = "import sys, mesm; assert not {'torch', 'av', 'numpy'} & set(sys.modules), sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=True)


def test_nothing_is_written_onto_what_is_read(own_mesm: Path, tmp_path: Path) -> None:
    recording = film(tmp_path / "k.mp4", 1.2)
    (tmp_path / "link.mp4").symlink_to(recording)
    table = tmp_path / "pieces.csv"
    table.write_text("start,end\n0,1\n")
    before = recording.read_bytes(), table.read_bytes()
    for options, message in (
        (("--video", recording), f"--video {recording} is the recording itself"),
        (("--video", tmp_path / "link.mp4"), "is the recording itself; name another file"),
        (("--segments", table, "--out", table), f"--out {table} is {table}, which is read"),
    ):
        done = run(own_mesm, recording, *options)
        assert done.exit_code == 2
        assert message in done.stderr
    assert (recording.read_bytes(), table.read_bytes()) == before


def test_places_that_cannot_be_written_are_told_before_the_work(
    own_mesm: Path, films: Path, tmp_path: Path
) -> None:
    long = tmp_path / f"{'n' * 245}.csv"
    for option, place in (("--out", long), ("--out", "/proc/a.csv"), ("--pictures", "/proc/a")):
        done = run(own_mesm, films / "film0.mp4", option, place)
        assert done.exit_code == 2
        assert str(place) in done.stderr
        assert "MESM of" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_no_text_are_written_and_shown(own_mesm: Path, tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    film(films / "a.mp4", 1.2).rename(os.fsdecode(os.fsencode(films) + b"/bad\xff\x1b.mp4"))
    for ending in (".csv", ".jsonl", ".parquet"):
        out = tmp_path / f"out{ending}"
        done = run(own_mesm, films, "--out", out, "--pictures", tmp_path / "seen")
        assert done.exit_code == 0, done.output
        assert "\x1b" not in done.stdout
    assert r"bad\xff" in (tmp_path / "out.csv").read_text()


def test_pictures_of_different_recordings_have_different_names(own_mesm: Path) -> None:
    work = _Work(Pipeline.from_pretrained(own_mesm, "cpu"), Request(()), None, print)
    wide = "\N{GRINNING FACE}" * 60
    given = ["a/x.mp4", "b/x.wav", "x.2.mp4", f"{wide}.mp4", f"{wide}.wav"]
    names = [work._name(Path(name)) for name in given]
    assert names[:3] == ["x", "x.2", "x.2.2"]
    assert len(set(names)) == 5
    assert all(len(name.encode()) < 80 for name in names)
