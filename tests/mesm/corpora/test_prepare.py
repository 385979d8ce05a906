import json
import random
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from mesm.corpora import prepare as module
from mesm.corpora.prepare import PrepareOptions, prepare
from mesm.corpora.prepared import PreparedCorpus
from mesm.corpora.remote import Remote
from mesm.corpora.splits import SPLITS
from mesm.inputs import face_detector, mtcnn
from mesm.runs.files import locked
from mesm.runs.storage import Store

# The miniature corpus has faces of 100 pixels and more.
FAST = {"min_face_size": 80, "workers": 1}
# Left out for what is wrong with them; the other faults are no reason to leave a clip out.
REASONS = {
    "iemocap": {
        "truncated_video": "truncated or damaged video",
        "missing_wav": "no sound file",
        "zero_length": "zero length",
        "no_labels": "no label",
    },
    "mosei": {
        "truncated_video": "unreadable video",
        "missing_wav": "no sound file",
        "zero_length": "zero length",
        "no_labels": "no label",
    },
}


def truth(raw):
    lines = (raw / "ground_truth.jsonl").read_text(encoding="utf-8").splitlines()
    return {clip["clip_id"]: clip for clip in map(json.loads, lines)}


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("layout", ["iemocap", "mosei"])
def test_every_clip_is_prepared_or_left_out_for_its_fault(prepared, layout):
    raw, out = prepared(layout)
    corpus = PreparedCorpus.open(out)
    corpus.verify()
    assert sorted(path.name for path in out.iterdir()) == ["data", "manifest.json"]
    clips = {clip.clip_id: clip for name in SPLITS for clip in corpus.split(name)}
    assert len(clips) == sum(len(corpus.split(name)) for name in SPLITS)
    reasons = REASONS[layout]
    wanted = truth(raw)
    left_out = {
        clip_id: reasons[clip["fault"]]
        for clip_id, clip in wanted.items()
        if clip["fault"] in reasons
    }
    assert {s.clip_id: s.reason for s in corpus.manifest.skipped} == left_out
    assert len(corpus.manifest.skipped) == len(reasons)
    assert clips.keys() == wanted.keys() - left_out.keys()
    emotions = corpus.manifest.emotions
    for clip_id, clip in clips.items():
        planned = wanted[clip_id]
        present = [emotions[i] for i in np.flatnonzero(clip.labels)]
        assert sorted(present) == sorted(planned["emotions"])
        assert (clip.start, clip.end) == pytest.approx((planned["start"], planned["end"]), abs=1e-3)
        times = [frame["time"] for frame in planned["frames"]]
        np.testing.assert_allclose(clip.face_times, times, atol=1e-3)
        assert clip.faces.shape == (len(times), 48, 48, 3)
        seconds = (clip.spectrogram.shape[1] - 1) * 0.0125
        assert seconds == pytest.approx(clip.end - clip.start, abs=0.0126)
    foreign = next(c for c in wanted.values() if c["fault"] == "non_ascii")
    assert "Señor Müller" in clips[foreign["clip_id"]].text


@pytest.mark.parametrize("layout", ["iemocap", "mosei"])
def test_faces_found_are_where_they_were_drawn(prepared, layout):
    raw, out = prepared(layout)
    corpus = PreparedCorpus.open(out)
    planned = truth(raw)
    overlaps, absent = [], []
    for name in SPLITS:
        for clip in corpus.split(name):
            for frame, found, box in zip(
                planned[clip.clip_id]["frames"], clip.face_found, clip.face_boxes, strict=True
            ):
                if frame["face_box"] is None:
                    absent.append(bool(found))
                elif found:
                    a, b = np.array(frame["face_box"]), box
                    shared = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
                    areas = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()
                    overlaps.append(shared.prod() / (areas - shared.prod()))
    assert absent
    assert not any(absent)
    assert len(overlaps) >= 10
    # In full-frame pixels, also on the right half of IEMOCAP's frames.
    assert min(overlaps) > 0.4


def test_the_manifest_counts_what_is_there(prepared):
    _, out = prepared("iemocap")
    corpus = PreparedCorpus.open(out)
    manifest = corpus.manifest
    assert manifest.corpus == "iemocap"
    assert manifest.options == {
        "format": 1,
        "corpus": "iemocap",
        "split": "random",
        "seed": 0,
        "min_face_size": 80,
    }
    everything = []
    for name in SPLITS:
        clips = list(corpus.split(name))
        everything += clips
        counts = manifest.counts[name]
        assert counts.clips == len(clips) > 0
        labels = sum(clip.labels.astype(int) for clip in clips)
        assert list(counts.labels.values()) == labels.tolist()
    words = np.mean([len(clip.text.split()) for clip in everything])
    assert manifest.averages["all"].words == pytest.approx(words, abs=1e-3)
    frames = sum(len(clip.faces) for clip in everything)
    assert manifest.faces.frames == frames > manifest.faces.found
    train = np.concatenate([clip.spectrogram.ravel() for clip in corpus.split("train")])
    assert manifest.spectrogram_mean == pytest.approx(train.mean(), abs=1e-3)
    assert manifest.spectrogram_std == pytest.approx(train.std(), abs=1e-3)
    lines = module.summary(manifest)
    assert f"faces found in {manifest.faces.found} of {frames} frames" in lines
    assert "1 zero length" in lines


def test_datasets_reads_it(prepared, tmp_path):
    import datasets

    _, out = prepared("iemocap")
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path))
    corpus = PreparedCorpus.open(out)
    assert {name: len(rows) for name, rows in loaded.items()} == {
        name: len(corpus.split(name)) for name in SPLITS
    }
    first, row = corpus.split("train")[0], loaded["train"][0]
    assert row["clip_id"] == first.clip_id
    spectrogram = np.array(row["spectrogram"], np.float32).reshape(128, -1)
    assert np.array_equal(spectrogram, first.spectrogram)
    assert row["faces"][0][:4] == b"\x89PNG"


def test_a_finished_corpus_is_left_alone(prepared, tmp_path, capsys):
    raw, out = prepared("iemocap")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    prepare("iemocap", raw, out, PrepareOptions(**FAST))
    assert "already prepared" in capsys.readouterr().out
    carrier = Remote(None, Store("s3://bucket/out"), raw, tmp_path, True)
    prepare("iemocap", raw, out, PrepareOptions(**FAST), carrier=carrier)
    assert capsys.readouterr().out.startswith("s3://bucket/out is already prepared")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    with pytest.raises(ValueError, match=r"prepared with other options \(seed 0 then, 1 now\)"):
        prepare("iemocap", raw, out, PrepareOptions(seed=1, **FAST))


def test_published_lists(prepared, tmp_path):
    raw, done = prepared("iemocap")
    corpus = PreparedCorpus.open(done)
    clips = sorted(clip for name in SPLITS for clip in corpus.split(name).clip_ids)
    broken = next(s.clip_id for s in corpus.manifest.skipped if s.reason == "no sound file")
    lists = {
        "train": [*clips[3:], broken],
        "valid": [clips[1], "Ses09F_gone_F000"],
        "test": clips[2:3],
    }
    for name, ids in lists.items():
        (tmp_path / f"iemocap_{name}.txt").write_text("\n".join(ids) + "\n")
    options = PrepareOptions(splits=tmp_path, **FAST)
    manifest = prepare("iemocap", raw, tmp_path / "out", options)
    listed = PreparedCorpus.open(tmp_path / "out")
    assert sorted(listed.split("train").clip_ids) == clips[3:]
    assert listed.split("valid").clip_ids == [clips[1]]
    assert listed.split("test").clip_ids == [clips[2]]
    assert clips[0] in manifest.unlisted
    assert manifest.missing == ["Ses09F_gone_F000"]
    assert manifest.options["split"] == "lists"


def test_no_speaker_is_shared(prepared, tmp_path):
    raw, _ = prepared("iemocap")
    out = tmp_path / "out"
    prepare("iemocap", raw, out, PrepareOptions(split="speaker", **FAST))
    corpus = PreparedCorpus.open(out)
    speakers = [{clip.speaker for clip in corpus.split(name)} for name in SPLITS]
    assert all(speakers)
    assert sum(map(len, speakers)) == len(set.union(*speakers))


def test_refused_before_anything_is_written(raw, tmp_path):
    out = tmp_path / "out"
    for corpus, other in (("iemocap", "mosei"), ("mosei", "iemocap")):
        with pytest.raises(ValueError, match=r"is not (IEMOCAP|CMU-MOSEI): .*wanted"):
            prepare(corpus, raw(other), out)
    with pytest.raises(ValueError, match="is not a folder"):
        prepare("iemocap", tmp_path / "none", out)
    with pytest.raises(ValueError, match=r"corpus must be one of iemocap, .*, got 'cinema'"):
        prepare("cinema", raw("iemocap"), out)
    with pytest.raises(ValueError, match=r"has no iemocap_train\.txt"):
        prepare("iemocap", raw("iemocap"), out, PrepareOptions(splits=tmp_path))
    with pytest.raises(ValueError, match="cannot go into the raw one"):
        prepare("iemocap", raw("iemocap"), raw("iemocap"))
    for unknown in ({"splitz": "random"}, {"split": "any"}, {"workers": 0}, {"min_face_size": 3}):
        with pytest.raises(ValueError, match=next(iter(unknown))):
            PrepareOptions(**unknown)
    assert not out.exists()
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match=r"is not empty \(mine\.txt\)"):
        prepare("iemocap", raw("iemocap"), out)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_a_run_begun_with_other_options_or_still_going_is_refused(raw, tmp_path):
    out = tmp_path / "out"
    (out / ".work").mkdir(parents=True)
    begun = module._fingerprint("iemocap", PrepareOptions(min_face_size=40), None)
    (out / ".work" / "options.json").write_text(json.dumps(begun))
    with pytest.raises(ValueError, match=r"begun with other options \(min_face_size 40 then, 80"):
        prepare("iemocap", raw("iemocap"), out, PrepareOptions(**FAST))
    with (
        locked(out, "preparing"),
        pytest.raises(ValueError, match="another process is preparing"),
    ):
        prepare("iemocap", raw("iemocap"), out, PrepareOptions(min_face_size=40))


def test_a_gpu_that_is_not_there_is_refused_before_anything_is_written(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"no device cuda:1: torch .* finds 0 GPUs here"):
        prepare("iemocap", raw("iemocap"), tmp_path / "out", PrepareOptions(device="cuda:1"))
    assert not (tmp_path / "out").exists()


def test_the_detectors_weights_are_an_option_unless_they_are_everybodys(raw, tmp_path):
    mine, out = tmp_path / "mine", tmp_path / "out"
    shutil.copytree(mtcnn.weights_folder(), mine)
    told = PrepareOptions(**FAST, mtcnn=mine)
    assert module._fingerprint("iemocap", told, None) == module._fingerprint(
        "iemocap", PrepareOptions(**FAST), None
    )
    weights = torch.load(mine / "onet.pt", weights_only=True)
    weights["dense5.bias"] += 1
    torch.save(weights, mine / "onet.pt")
    (out / ".work").mkdir(parents=True)
    begun = json.dumps(module._fingerprint("iemocap", told, None))
    (out / ".work" / "options.json").write_text(begun)
    with pytest.raises(ValueError, match=r"mtcnn [0-9a-f]{64} then, facenet-pytorch's now"):
        prepare("iemocap", raw("iemocap"), out, PrepareOptions(**FAST))


def test_without_the_detectors_weights_nothing_is_begun(raw, tmp_path):
    (tmp_path / "empty").mkdir()
    told = PrepareOptions(**FAST, mtcnn=tmp_path / "empty")
    with pytest.raises(ValueError, match=r"pnet\.pt is not there; name with --mtcnn"):
        prepare("iemocap", raw("iemocap"), tmp_path / "out", told)
    assert not (tmp_path / "out").exists()


def test_the_device_is_one_of_the_options_but_not_its_number(prepared, tmp_path, monkeypatch):
    raw, of_cpu = prepared("iemocap")
    asked = []

    def usable(name):
        asked.append(name)
        return torch.device("cpu")

    monkeypatch.setattr(face_detector, "usable_device", usable)
    out = tmp_path / "out"
    made = prepare("iemocap", raw, out, PrepareOptions(**FAST, device="cuda:1"))
    assert asked == ["cuda:1", "cuda:1"]
    assert made.options == PreparedCorpus.open(of_cpu).manifest.options | {"device": "cuda"}
    assert prepare("iemocap", raw, out, PrepareOptions(**FAST, device="cuda")) == made
    with pytest.raises(ValueError, match=r"with other options \(device cuda then, cpu now\)"):
        prepare("iemocap", raw, out, PrepareOptions(**FAST))
    with pytest.raises(ValueError, match=r"with other options \(device cpu then, cuda now\)"):
        prepare("iemocap", raw, of_cpu, PrepareOptions(**FAST, device="cuda"))


# Kills itself at the n-th change of the output folder.
KILLED = """
import os, signal, sys
from pathlib import Path
from mesm.corpora.prepare import PrepareOptions, prepare

raw, out, point = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
changes = 0

def count(event, args):
    global changes
    writes = event == "open" and isinstance(args[1], str) and "w" in args[1]
    if writes or event in ("os.rename", "os.mkdir", "os.rmdir", "os.remove"):
        if str(out) in str(args[0]) or ".parquet" in str(args[0]):
            changes += 1
            if changes == point:
                os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    sys.addaudithook(count)
    prepare("iemocap", raw, out, PrepareOptions(min_face_size=80, workers=1))
    print("changes:", changes)
"""


def run_killed(script, raw, out, point):
    command = [sys.executable, str(script), str(raw), str(out), str(point)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_killed_at_any_moment_it_ends_with_the_same_files(prepared, tmp_path):
    raw, wanted = prepared("iemocap")
    script = tmp_path / "run.py"
    script.write_text(KILLED)
    whole = run_killed(script, raw, tmp_path / "whole", 0)
    assert whole.returncode == 0, whole.stderr
    changes = int(whole.stdout.rpartition("changes: ")[2])
    # One folder, killed again and again, each time somewhere else; then left to finish.
    seed = random.randrange(1 << 30)
    print("seed", seed)
    points = sorted(random.Random(seed).sample(range(2, changes + 1), 4))
    out = tmp_path / "out"
    kills = 0
    for point in points:
        kills += run_killed(script, raw, out, point).returncode == -signal.SIGKILL
    assert kills >= 2
    prepare("iemocap", raw, out, PrepareOptions(**FAST))
    assert contents(out) == contents(wanted)
    assert contents(tmp_path / "whole") == contents(wanted)


def test_killed_while_finishing(prepared, tmp_path):
    raw, wanted = prepared("iemocap")
    out = tmp_path / "out"
    # Everything but the last step, the removal of the work folder, is done.
    prepare("iemocap", raw, out, PrepareOptions(**FAST))
    (out / ".work" / "parts").mkdir(parents=True)
    (out / ".work" / "parts" / "left.parquet.tmp").write_bytes(b"half")
    prepare("iemocap", raw, out, PrepareOptions(**FAST))
    assert contents(out) == contents(wanted)
