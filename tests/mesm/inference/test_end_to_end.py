"""From a recording of any kind to what the command writes, and what a full disk leaves."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.studies.predict_speed import repeated
from mesm.cli import app
from mesm.config.files import load_config
from mesm.corpora.prepare import PrepareOptions, prepare
from mesm.inference.loading import load_trained
from mesm.training.loop import train
from tests.mesm.conftest import SMALL
from tests.mesm.inference.recordings import HEIGHT, WIDTH, film, pictures, voice

ROOT = Path(__file__).parents[3]
QUIET = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}


def predicted(out: Path, *arguments: object) -> list[dict]:
    done = CliRunner().invoke(app, ["predict", *map(str, arguments), "--out", str(out)])
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_the_longest_track_from_the_corpus_to_a_recording_of_two(
    films: Path, tmp_path: Path
) -> None:
    corpus = tmp_path / "prepared"
    options = PrepareOptions(min_face_size=40, workers=1, faces="track")
    prepare("table", films / "clips.csv", corpus, options)
    run = tmp_path / "run"
    train(load_config("own_mesm", [f"corpus={corpus}", *SMALL]), run)
    assert load_trained(run, "cpu").preprocessing.faces == "track"
    two = film(tmp_path / "two.mp4", 2.2, people=2)
    (own,) = predicted(tmp_path / "own.jsonl", run, two)
    everyone = predicted(tmp_path / "all.jsonl", run, two, "--person", "all")
    second = predicted(tmp_path / "second.jsonl", run, two, "--person", "2")
    assert (own["people"], own["person"]) == (2, None)
    assert [row["person"] for row in everyone] == [1, 2]
    # Nobody is seen longer than the first person; a batch decides on the last bits.
    assert own["probability"] == pytest.approx(everyone[0]["probability"], abs=1e-5)
    assert second[0]["probability"] == pytest.approx(everyone[1]["probability"], abs=1e-5)
    assert second[0]["probability"] != pytest.approx(own["probability"], abs=1e-5)


@pytest.mark.parametrize(
    ("codec", "rate", "layout"),
    [("pcm_u8", 8000, "mono"), ("pcm_s24le", 96_000, "stereo"), ("pcm_s32le", 192_000, "5.1")],
)
def test_uneven_frames_and_any_sound_go_through_the_command(
    own_mesm: Path, tmp_path: Path, codec: str, rate: int, layout: str
) -> None:
    file = tmp_path / "phone.mkv"
    count = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    with av.open(str(file), "w") as container:
        video = container.add_stream("mpeg4", rate=30)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream(codec, rate=rate, layout=layout)
        kind = audio.codec_context.codec.audio_formats[0].name
        samples = np.repeat(voice(1.6, rate=rate)[None], count, axis=0)
        heard = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        heard.sample_rate, heard.pts, heard.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(kind, layout, rate, 1024)
        for part in [*resampler.resample(heard), *resampler.resample(None)]:
            container.mux(audio.encode(part))
        times = (0, 40, 70, 300, 340, 420, 700, 760, 990, 1010, 1200, 1420, 1590)
        for time, picture in zip(times, pictures(1.3), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        container.mux(audio.encode())
    (row,) = predicted(tmp_path / "out.jsonl", own_mesm, file)
    assert row["missing"] == ["text"]
    assert row["notes"] == []
    assert row["faces"] == row["frames"] == 4
    assert sum(row["probability"].values()) > 0


@pytest.mark.parametrize(("option", "name"), [("--pictures", "seen"), ("--video", "seen.mp4")])
def test_a_full_disk_leaves_no_half_picture_and_no_half_film(
    own_mesm: Path, films: Path, tmp_path: Path, option: str, name: str
) -> None:
    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    place = tmp_path / name
    command = [sys.executable, "-m", "mesm", "predict", own_mesm, films / "film0.mp4"]
    done = subprocess.run(
        [*command, option, place],
        env=QUIET,
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=small_files,
    )
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("mesm: ")]
    assert line.startswith(f"mesm: {place}")
    assert line.endswith(": the disk is full; make room, then run the same command again")
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


MEMORY = """
import resource, sys
from mesm import Pipeline
from mesm.runs.memory import keep_freed_pages
keep_freed_pages()
pieces = sum(1 for _ in Pipeline.from_pretrained(sys.argv[1], "cpu").stream(sys.argv[2]))
print(pieces, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.early
def test_ten_minutes_take_the_memory_of_two(own_mesm: Path, tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", 30.0, rate=4)
    pieces, peaks = [], []
    for seconds in (120, 600):
        long = repeated(source, tmp_path / f"{seconds}.mp4", seconds)
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, own_mesm, long],
            env=QUIET,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        count, peak = done.stdout.split()
        pieces.append(int(count))
        peaks.append(float(peak))
    assert pieces[1] > 4 * pieces[0]
    # The frames that faces are looked for in would be 70 MiB, the sound 37.
    assert peaks[1] < peaks[0] + 32
    assert peaks[1] < 1536
