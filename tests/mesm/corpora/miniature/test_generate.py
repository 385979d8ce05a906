from __future__ import annotations

import hashlib
import importlib
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction

import av
import pytest

from mesm.corpora.miniature.emotions import LAYOUTS
from mesm.corpora.miniature.generate import generate
from mesm.corpora.miniature.media import VIDEOS


def digests(root):
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_same_seed_same_bytes_whatever_the_number_of_workers(tmp_path, layout):
    faults = layout not in ("iemocap", "mosei")
    generate(tmp_path / "a", clips=9, seed=7, layout=layout, faults=faults, workers=1)
    generate(tmp_path / "b", clips=9, seed=7, layout=layout, faults=faults, workers=2)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_another_seed_gives_another_corpus(tmp_path):
    generate(tmp_path / "a", clips=1, seed=0, layout="mosei")
    generate(tmp_path / "b", clips=1, seed=1, layout="mosei")
    assert not set(digests(tmp_path / "a").values()) & set(digests(tmp_path / "b").values())


@pytest.mark.parametrize("layout", ["iemocap", "mosei"])
def test_videos_of_another_size_and_rate_change_no_sound_and_no_text(tmp_path, layout):
    video = replace(VIDEOS[layout], width=160, height=120, rate=Fraction(10))
    generate(tmp_path / "own", clips=2, seed=3, layout=layout, workers=1)
    generate(tmp_path / "small", clips=2, seed=3, layout=layout, video=video, workers=1)
    own, small = digests(tmp_path / "own"), digests(tmp_path / "small")
    assert own.keys() == small.keys()
    changed = {name for name in own if own[name] != small[name]}
    (file,) = [name for name in changed if name.endswith((".avi", ".mp4"))]
    assert changed - {file} == {
        "ground_truth.jsonl",
        *(name for name in own if name.startswith("OpenFace/")),
    }
    with av.open(str(tmp_path / "small" / file)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (160, 120, 10)


def test_nothing_is_left_beside_the_corpus(tmp_path):
    (tmp_path / ".out.partial" / "old").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    generate(tmp_path / "out", clips=1, seed=0)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_args, **_kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("mesm.corpora.miniature.iemocap_layout.write_wav", fail)
    with pytest.raises(OSError, match="disk full"):
        generate(tmp_path / "out", clips=1, seed=0, workers=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clips": 0}, "clips must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        (
            {"layout": "savee"},
            "layout must be one of iemocap, mosei, meld, ravdess, crema_d, got 'savee'",
        ),
        (
            {"layout": "ravdess", "variant": "where"},
            "variant where does not fit layout ravdess, .*; use one of iemocap, mosei, meld$",
        ),
        (
            {"layout": "crema_d", "variant": "where"},
            "variant where does not fit layout crema_d, whose speakers recite given sentences",
        ),
        (
            {"layout": "ravdess", "clips": 2401},
            "ravdess has takes for 2400 clips at most, got 2401",
        ),
        ({"variant": "when"}, "variant must be one of hints, where, got 'when'"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        generate(tmp_path / "out", **{"clips": 1, "seed": 0, **arguments})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_refused_and_kept(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        generate(tmp_path, clips=1, seed=0)
    assert [p.name for p in tmp_path.iterdir()] == ["precious.txt"]


def test_a_file_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(ValueError, match="is a file"):
        generate(path, clips=1, seed=0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_files_for_features_move_no_other_file(tmp_path, monkeypatch, layout):
    generate(tmp_path / "with", clips=3, seed=2, layout=layout, workers=1)
    # The package's attribute of this name is the function.
    module = importlib.import_module("mesm.corpora.miniature.generate")
    monkeypatch.setattr(module, "write_openface", lambda *_: None)
    monkeypatch.setattr(module, "write_word_vectors", lambda *_: None)
    generate(tmp_path / "without", clips=3, seed=2, layout=layout, workers=1)
    whole, bare = digests(tmp_path / "with"), digests(tmp_path / "without")
    added = whole.keys() - bare.keys()
    assert added == {"glove.txt.gz", *(name for name in whole if name.startswith("OpenFace/"))}
    assert {name: whole[name] for name in bare} == bare


def start(out, clips=60):
    command = [sys.executable, "-m", "mesm", "miniature", str(out), "--clips", str(clips)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True, text=True)
    while not list(out.parent.glob(f".{out.name}.partial/*")):
        assert process.poll() is None
        time.sleep(0.05)
    return process


def test_the_second_at_once_is_told_and_the_first_is_whole(tmp_path):
    out = tmp_path / "out"
    first = start(out, clips=12)
    with pytest.raises(ValueError, match=rf"another process .*process {first.pid}: "):
        generate(out, clips=12, seed=0, workers=1)
    assert first.wait(timeout=120) == 0
    assert first.stderr is not None
    first.stderr.close()
    generate(tmp_path / "alone", clips=12, seed=0, workers=1)
    assert digests(out) == digests(tmp_path / "alone")


def test_a_killed_one_leaves_no_process(tmp_path):
    killed = start(tmp_path / "out")
    killed.kill()
    # The pipe ends when the last process that holds it is gone.
    killed.communicate(timeout=30)


def test_a_folder_that_was_filled_meanwhile_is_left_alone(tmp_path, monkeypatch):
    def write(partial, *_):
        (partial / "file").touch()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs").touch()

    module = importlib.import_module("mesm.corpora.miniature.generate")
    monkeypatch.setattr(module, "_write", write)
    with pytest.raises(ValueError, match="is not empty"):
        generate(tmp_path / "out", clips=1, seed=0)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "theirs"]
