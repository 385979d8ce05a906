import json
import shutil

import pyarrow.parquet as pq
import pytest
import yaml

from mesm.evaluation.against import compare_runs
from mesm.evaluation.bootstrap import Bootstrap
from mesm.evaluation.evaluate import evaluate_run
from mesm.runs.hashes import sha256


def other_corpus(run, corpus, folder, change):
    """A copy of the run on a copy of its corpus whose manifest was changed."""
    shutil.copytree(corpus, folder / "corpus")
    file = folder / "corpus" / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest, folder / "corpus")
    file.write_text(json.dumps(manifest))
    copy = shutil.copytree(run, folder / "run")
    config = yaml.safe_load((copy / "config.yaml").read_text())
    (copy / "config.yaml").write_text(yaml.safe_dump(config | {"corpus": str(folder / "corpus")}))
    (copy / "corpus.json").unlink()  # as an earlier run, which takes what is there
    return copy


def test_differences_are_those_of_the_evaluations(tiny_mesm, tiny_fe2e, tmp_path, capsys):
    first = shutil.copytree(tiny_mesm, tmp_path / "mesm")
    second = shutil.copytree(tiny_fe2e, tmp_path / "fe2e")
    ours, theirs = evaluate_run(first), evaluate_run(second)
    capsys.readouterr()
    kept = (first / "evaluation.json").read_bytes()
    found = compare_runs(first, second, bootstrap=Bootstrap(draws=50))
    for name in ("accuracy", "weighted_accuracy", "f1", "f1_weighted"):
        wanted = ours["average"][name] - theirs["average"][name]
        assert found["average"][name]["difference"] == pytest.approx(wanted)
        low, high = found["average"][name]["interval"]
        assert low <= high
    assert [side["weights"] for side in found["runs"]] == [
        ours["weights"]["sha256"],
        theirs["weights"]["sha256"],
    ]
    assert found["runs"][0]["thresholds"] == ours["threshold"]["values"]
    assert (first / "evaluation.json").read_bytes() == kept
    output = capsys.readouterr().out
    assert "mesm minus " in output
    assert "test split, 7 clips, percentage points" in output
    assert "threshold: tuned on validation F1; F1: binary" in output
    assert "paired percentile bootstrap over 7 clips, 50 draws" in output


def test_both_runs_take_the_settings_given(tiny_mesm, tiny_fe2e, tmp_path):
    first = shutil.copytree(tiny_mesm, tmp_path / "mesm")
    config = (first / "config.yaml").read_text()
    (first / "config.yaml").write_text(config.replace("threshold: tuned", "threshold: '0.5'"))
    second = shutil.copytree(tiny_fe2e, tmp_path / "fe2e")
    with pytest.raises(ValueError, match=r"evaluation\.threshold 0\.5 and tuned: .*--threshold"):
        compare_runs(first, second)
    found = compare_runs(first, second, threshold="tuned_wacc", f1="weighted")
    assert found["threshold"] == {"policy": "tuned on validation WAcc"}
    assert found["f1_variant"] == "weighted"


def test_a_copy_of_the_corpus_is_the_corpus(tiny_mesm, tiny_corpus, tmp_path):
    copy = other_corpus(tiny_mesm, tiny_corpus, tmp_path, lambda manifest, folder: None)
    first = shutil.copytree(tiny_mesm, tmp_path / "first")
    found = compare_runs(first, copy, bootstrap=Bootstrap(draws=10))
    assert found["average"]["f1"] == {"difference": 0.0, "interval": [0.0, 0.0]}


def rename(manifest, folder):
    manifest["corpus"] = "mosei"


def swap_splits(manifest, folder):
    valid, test = (f"data/{name}-00000-of-00001.parquet" for name in ("valid", "test"))
    (folder / valid).rename(folder / "spare")
    (folder / test).rename(folder / valid)
    (folder / "spare").rename(folder / test)
    files = manifest["files"]
    files[valid], files[test] = files[test], files[valid]


def prepare_anew(manifest, folder):
    file = folder / "data" / "test-00000-of-00001.parquet"
    pq.write_table(pq.read_table(file), file)  # with other settings than the corpus's writer
    manifest["files"]["data/test-00000-of-00001.parquet"] = sha256(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename, r"different corpora: iemocap \(angry.*mosei"),
        (swap_splits, "other clips in the test split: 7 and 6, 13 of them in one only, such as"),
        (prepare_anew, "test clips prepared differently"),
    ],
)
def test_refuses_what_is_not_alike_before_predicting(
    tiny_mesm, tiny_corpus, tmp_path, change, message, monkeypatch
):
    copy = other_corpus(tiny_mesm, tiny_corpus, tmp_path, change)

    def refuse(*arguments):
        raise AssertionError("predicted")

    monkeypatch.setattr("mesm.evaluation.run.Run.predict", refuse)
    with pytest.raises(ValueError, match=message):
        compare_runs(tiny_mesm, copy)


def test_refuses_a_folder_that_is_no_run(tiny_mesm, tmp_path):
    with pytest.raises(ValueError, match="no trained run"):
        compare_runs(tiny_mesm, tmp_path)
