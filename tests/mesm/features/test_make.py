import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mesm.cli import app
from mesm.corpora import parts
from mesm.corpora.parts import make_parts
from mesm.corpora.splits import SPLITS
from mesm.features import make
from mesm.features.glove import read_vectors
from mesm.features.make import FeatureOptions, make_features
from mesm.features.onsets import onset_features
from mesm.features.openface import read_openface
from mesm.features.phonet import log_ratios, phonet_features
from mesm.features.phonet_network import CLASSES, load_network
from mesm.features.store import FeatureStore
from mesm.inputs.waveforms import read_waveform
from mesm.runs.hashes import sha256


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write_phonet(folder, clips):
    folder.mkdir()
    for number, clip in enumerate(clips):
        times = np.arange(0, clip.end - clip.start, 0.01)
        posteriors = np.random.default_rng(number).random((len(times), 18))
        lines = [",".join(["time", "phoneme", *CLASSES])]
        for time, row in zip(times, posteriors, strict=True):
            lines.append(",".join([f"{time:.2f}", "a", *(f"{p:.6f}" for p in row)]))
        (folder / f"{clip.clip_id}.csv").write_text("\n".join(lines) + "\n")
    return folder


def clips_of(corpus):
    return [clip for name in SPLITS for clip in corpus.split(name)]


def run(corpus, raw, **options):
    return make_features(corpus, FeatureOptions(raw=raw, workers=1, **options))


@pytest.mark.parametrize("layout", ["iemocap", "mosei"])
def test_every_clip_gets_the_features_of_its_files(copies, layout):
    raw, corpus = copies(layout)
    manifest = run(corpus, raw)
    assert sorted(path.name for path in (corpus.path / "features").iterdir()) == [
        "audio.parquet", "features.json", "text.parquet", "video.parquet", "words.parquet"
    ]  # fmt: skip
    for name, digest in manifest.files.items():
        assert sha256(corpus.path / "features" / name) == digest
    store = FeatureStore.open(corpus)
    assert store.dims == {"text": 300, "audio": 142, "video": 35}
    pattern = "wav/{}.wav" if layout == "iemocap" else "Audio/WAV_16000/{}.wav"
    raw_rows = {"audio": [], "video": []}
    for clip in clips_of(corpus):
        # The first speaker of a dialog is on the left channel.
        wav = next(raw.rglob(pattern.format(clip.dialog)))
        first = clip.clip_id.split("_")[-1][:1] == clip.dialog[5]
        channel = (0 if first else 1) if layout == "iemocap" else None
        waveform = read_waveform(wav, clip.start, clip.end, channel)
        statistics = phonet_features(waveform, load_network())
        audio = np.concatenate([onset_features(waveform), statistics], 1)
        video = read_openface(
            raw / "OpenFace" / f"{clip.clip_id}.csv", 0, clip.end - clip.start, 0.1
        )
        got = store.clip(clip.clip_id)
        for name, rows in (("audio", audio), ("video", video)):
            one = manifest.modality(name)
            std = np.where(np.array(one.std) > 0, one.std, 1)
            wanted = np.nan_to_num((rows - np.array(one.mean)) / std)
            np.testing.assert_allclose(getattr(got, name), wanted, rtol=1e-4, atol=1e-5)
            if clip.split == "train":
                raw_rows[name].append(rows)
        vectors = read_vectors(raw / "glove.txt.gz", got.words)
        wanted = [vectors.get(word, np.zeros(300)) for word in got.words]
        np.testing.assert_array_equal(got.text, np.array(wanted, np.float32))
    for name, rows in raw_rows.items():
        one, rows = manifest.modality(name), np.concatenate(rows).astype(np.float64)
        np.testing.assert_allclose(one.mean, np.nanmean(rows, 0), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(one.std, np.nanstd(rows, 0), rtol=1e-6, atol=1e-9)
    names = read_vectors(raw / "glove.txt.gz", corpus.manifest.emotions)
    np.testing.assert_array_equal(store.emotion_vectors(), np.stack(list(names.values())))


def test_what_the_manifest_says(copies):
    raw, corpus = copies()
    manifest = run(corpus, raw)
    store = FeatureStore.open(corpus)
    assert "audio, 142 per 400 ms (DisVoice's: 22 Bark-band energies, 12 " in store.feature_set
    assert "synthetic" in store.feature_set
    assert not any("Phonet" in note for note in manifest.notes)
    for name in ("text", "audio", "video"):
        columns = manifest.modality(name).columns
        assert len({column.name for column in columns}) == len(columns) == store.dims[name]
        assert all(column.formula for column in columns)
    assert (manifest.audio.step, manifest.video.step, manifest.text.step) == (0.4, 0.1, None)
    words = [word for clip in clips_of(corpus) for word in store.clip(clip.clip_id).words]
    assert manifest.tokens == manifest.text.rows == len(words)
    unknown = manifest.out_of_vocabulary
    # The fault with foreign words.
    assert unknown["Müller"] == unknown["你好"] == 1
    assert all(n == words.count(word) for word, n in unknown.items())
    assert list(unknown.values()) == sorted(unknown.values(), reverse=True)
    for word in set(words):
        row = store.clip(next(c for c in (x.clip_id for x in clips_of(corpus))
                              if word in store.clip(c).words))  # fmt: skip
        assert (word in unknown) == (not row.text[row.words.index(word)].any())
    # The clip whose speaker walks away has rows that measure nothing.
    assert manifest.video.rows_measured < manifest.video.rows
    assert manifest.skipped == []


def test_phonets_own_posteriors_are_taken(copies):
    raw, corpus = copies("mosei")
    clips = clips_of(corpus)
    phonet = write_phonet(raw / "phonet", clips)
    manifest = run(corpus, raw, phonet=phonet)
    store = FeatureStore.open(corpus)
    assert store.dims["audio"] == 142
    assert "142 per 400 ms" in store.feature_set
    assert "Phonet's posteriors are read from files" in store.feature_set
    assert manifest.audio.columns[34].name == "vocalic_mean"
    clip = clips[0]
    table = np.loadtxt(
        phonet / f"{clip.clip_id}.csv", delimiter=",", skiprows=1, usecols=range(2, 20)
    )
    one = manifest.audio
    column = 34 + 7 * 6 + 4
    wanted = (log_ratios(table[:40])[:, 7].max() - one.mean[column]) / one.std[column]
    assert store.clip(clip.clip_id).audio[0, column] == pytest.approx(wanted, rel=1e-4)
    # One file less: named, and the statistics of that clip are the mean.
    (phonet / f"{clip.clip_id}.csv").unlink()
    manifest = run(corpus, raw, phonet=phonet)
    (skipped,) = manifest.skipped
    assert (skipped.clip_id, skipped.reason) == (clip.clip_id, "no Phonet file")
    assert not FeatureStore.open(corpus).clip(clip.clip_id).audio[:, 34:].any()
    with pytest.raises(ValueError, match=r"holds no Phonet file of any clip: wanted "):
        run(corpus, raw, phonet=raw / "OpenFace" / "..")


def test_one_bad_clip_is_reported_and_gets_no_rows(copies, capsys):
    raw, corpus = copies()
    first, second, third = clips_of(corpus)[:3]
    (raw / "OpenFace" / f"{first.clip_id}.csv").unlink()
    damaged = raw / "OpenFace" / f"{second.clip_id}.csv"
    damaged.write_text(damaged.read_text().replace("0.0", "oh", 1))
    next(raw.rglob(f"{third.dialog}.wav")).write_bytes(b"no sound")
    manifest = run(corpus, raw)
    reasons = {(s.clip_id, s.reason) for s in manifest.skipped}
    assert (first.clip_id, "no OpenFace file") in reasons
    assert (second.clip_id, "unreadable OpenFace file") in reasons
    silent = {c.clip_id for c in clips_of(corpus) if c.dialog == third.dialog}
    assert {(clip, "unreadable sound") for clip in silent} <= reasons
    assert len(reasons) == 2 + len(silent)
    assert set(manifest.video.clips_without_rows) == {first.clip_id, second.clip_id}
    assert set(manifest.audio.clips_without_rows) == silent
    assert all(str(raw) not in skipped.line() for skipped in manifest.skipped)
    shown = capsys.readouterr()
    assert f"skipped {first.clip_id}: no OpenFace file" in shown.err
    assert "1 no OpenFace file, 1 unreadable OpenFace file" in shown.out
    store = FeatureStore.open(corpus)
    assert store.clip(first.clip_id).video.shape == (1, 35)
    assert not store.clip(first.clip_id).video.any()
    assert store.clip(third.clip_id).audio.shape == (1, 142)


def test_nothing_usable_is_refused(copies):
    raw, corpus = copies("mosei")
    for file in (raw / "OpenFace").iterdir():
        file.write_text(file.read_text().partition("\n")[0] + "\n1, 2\n")
    with pytest.raises(
        ValueError, match=r"no OpenFace file of any clip can be used: skipped .*Row"
    ):
        run(corpus, raw)
    assert not (corpus.path / "features" / "features.json").exists()


def test_no_sound_is_refused(copies):
    raw, corpus = copies("mosei")
    for file in raw.rglob("*.wav"):
        file.unlink()
    with pytest.raises(ValueError, match=r"no sound of any clip can be used: skipped .*wav"):
        run(corpus, raw)
    assert not (corpus.path / "features" / "features.json").exists()


def test_files_that_come_later_are_noticed_and_others_left_alone(copies, capsys):
    raw, corpus = copies("mosei")
    file = raw / "OpenFace" / f"{clips_of(corpus)[0].clip_id}.csv"
    file.rename(raw / "kept.csv")
    assert len(run(corpus, raw).skipped) == 1
    (raw / "kept.csv").rename(file)
    assert run(corpus, raw).skipped == []
    before = contents(corpus.path / "features")
    capsys.readouterr()
    run(corpus, raw)
    assert "already made: nothing to do" in capsys.readouterr().out
    assert contents(corpus.path / "features") == before
    assert run(corpus, raw, video_step=0).video.step is None
    assert "was made from something else: making it anew" in capsys.readouterr().out
    rows = len(file.read_text().splitlines()) - 1
    assert FeatureStore.open(corpus).clip(clips_of(corpus)[0].clip_id).video.shape[0] == rows > 8


def test_features_of_another_preparation_are_refused_and_made_anew(copies):
    raw, corpus = copies("mosei")
    run(corpus, raw)
    manifest = corpus.path / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(ValueError, match="made for another preparation"):
        FeatureStore.open(corpus)
    run(corpus, raw)
    FeatureStore.open(corpus)


def test_the_number_of_workers_changes_nothing(copies):
    raw, corpus = copies()
    run(corpus, raw)
    one = contents(corpus.path / "features")
    shutil.rmtree(corpus.path / "features")
    make_features(corpus, FeatureOptions(raw=raw, workers=2))
    assert contents(corpus.path / "features") == one


@pytest.mark.parametrize("missing", ["load_sptk", "load_network"])
def test_missing_packages_are_refused_before_any_work(copies, tmp_path, monkeypatch, missing):
    raw, corpus = copies("mosei")

    def absent():
        raise FileNotFoundError("it is missing; install it")

    monkeypatch.setattr(make, missing, absent)
    monkeypatch.setattr(parts, "make_parts", None)
    with pytest.raises(FileNotFoundError, match="missing"):
        run(corpus, raw)
    assert not (corpus.path / "features").exists()
    if missing == "load_network":
        # A user's posteriors need no network.
        monkeypatch.undo()
        monkeypatch.setattr(make, missing, absent)
        run(corpus, raw, phonet=write_phonet(tmp_path / "phonet", clips_of(corpus)))


def test_features_of_an_older_format_are_read_and_made_anew(copies, capsys):
    raw, corpus = copies("mosei")
    run(corpus, raw)
    file = corpus.path / "features" / "features.json"
    content = json.loads(file.read_text())
    older = {**content, "format": 1, "options": {**content["options"], "format": 1}}
    del older["digest"]
    file.write_text(json.dumps(older))
    assert FeatureStore.open(corpus).dims["audio"] == 142
    capsys.readouterr()
    run(corpus, raw)
    assert "was made from something else: making it anew" in capsys.readouterr().out
    assert json.loads(file.read_text()) == content


def test_damaged_features_are_made_anew_and_a_damaged_corpus_is_refused(copies, capsys):
    raw, corpus = copies()
    path = corpus.path
    run(corpus, raw)
    whole = contents(path / "features")
    for damage in (lambda data: data[:200], lambda data: data[:50] + b"?" + data[51:]):
        file = path / "features" / "audio.parquet"
        file.write_bytes(damage(file.read_bytes()))
        with pytest.raises(ValueError, match=r"audio\.parquet is not as it was written"):
            FeatureStore.open(corpus)
        capsys.readouterr()
        run(corpus, raw)
        assert "making it anew" in capsys.readouterr().out
        assert contents(path / "features") == whole
    file = next((path / "data").glob("test-*"))
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"test-.* not as it was written.*mesm prepare again"):
        run(corpus, raw)


# Kills itself at the n-th change of the features' folder.
KILLED = """
import os, signal, sys
from pathlib import Path
from mesm.corpora.prepared import PreparedCorpus
from mesm.features.make import FeatureOptions, make_features

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
    make_features(PreparedCorpus.open(out), FeatureOptions(raw=raw, workers=1))
"""


def test_killed_at_any_moment_it_ends_with_the_same_files(copies, tmp_path, monkeypatch):
    raw, corpus = copies()
    script, folder = tmp_path / "run.py", corpus.path / "features"
    script.write_text(KILLED)

    run(corpus, raw)
    wanted = contents(folder)
    shutil.rmtree(folder)
    command = [sys.executable, str(script), str(raw), str(corpus.path), "8"]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    finished = {path.name for path in (folder / ".work" / "parts").glob("*.parquet")}
    assert finished
    made = []
    monkeypatch.setattr(
        parts,
        "make_parts",
        lambda todo, files, opened, workers, carrier: (
            made.extend(files[dialog.name].name for dialog in todo)
            or make_parts(todo, files, opened, workers, carrier)
        ),
    )
    # Stopped once more at each of the renames that put the files in their place.
    replace = Path.replace
    for stop in ("audio", "text", "video", "words", "features"):

        def stopped(self, target, stop=stop):
            if Path(target).parent == folder and Path(target).stem == stop:
                raise KeyboardInterrupt
            return replace(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", stopped)
            with pytest.raises(KeyboardInterrupt):
                run(corpus, raw)
        with pytest.raises(ValueError, match="has no hand-crafted features"):
            FeatureStore.open(corpus)
    run(corpus, raw)
    assert contents(folder) == wanted
    # The kill cost no finished part, and each of the others was made once.
    assert len(made) == len(set(made))
    assert finished.isdisjoint(made)


def test_the_command(copies):
    raw, corpus = copies("mosei")
    runner = CliRunner()
    arguments = ["features", str(corpus.path), "--raw", str(raw), "--workers", "1"]
    done = runner.invoke(app, [*arguments, "--video-step", "0.2"])
    assert done.exit_code == 0, done.output
    assert "Hand-crafted features: text, 300 per word (glove.txt.gz)" in done.output
    assert json.loads((corpus.path / "features" / "features.json").read_text())["format"] == 2
    refused = runner.invoke(app, [*arguments, "--glove", str(raw / "none.txt")])
    assert refused.exit_code == 2
    assert "none.txt is not there" in refused.output
    nothing = runner.invoke(app, ["features", str(raw), "--raw", str(raw)])
    assert nothing.exit_code == 2
    assert "is not a prepared corpus" in nothing.output


def test_datasets_still_reads_the_corpus(copies, tmp_path):
    import datasets

    raw, corpus = copies("mosei")
    run(corpus, raw)
    loaded = datasets.load_dataset(str(corpus.path), cache_dir=str(tmp_path / "cache"))
    assert {name: len(rows) for name, rows in loaded.items()} == {
        name: len(corpus.split(name)) for name in SPLITS if len(corpus.split(name))
    }
    assert pq.read_metadata(corpus.path / "features" / "text.parquet").num_rows == 5
