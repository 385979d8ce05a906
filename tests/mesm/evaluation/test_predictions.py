import json
import shutil
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mesm.config.experiment import ExperimentConfig
from mesm.config.files import load_config
from mesm.evaluation.calibration import Temperatures
from mesm.evaluation.predictions import Predictions, origin_of
from mesm.runs.folder import RunFolder
from mesm.runs.hashes import sha256


@pytest.fixture
def predictions():
    generator = torch.Generator().manual_seed(0)
    return Predictions(
        emotions=["angry", "sad"],
        clip_ids=["a_1", "a_2", "b_1"],
        dialogs=["a", "a", "b"],
        logits=torch.randn(3, 2, generator=generator),
        labels=torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]),
        origin={"weights": "123"},
    )


def test_reads_what_was_written_to_the_bit(predictions, tmp_path):
    file = tmp_path / "predictions" / "test.parquet"
    predictions.write(file)
    found = Predictions.read(file)
    assert torch.equal(found.logits, predictions.logits)
    assert torch.equal(found.labels, predictions.labels)
    assert (found.logits.dtype, found.labels.dtype) == (torch.float32, torch.float32)
    for name in ("emotions", "clip_ids", "dialogs", "origin"):
        assert getattr(found, name) == getattr(predictions, name)
    assert [file.name for file in file.parent.iterdir()] == ["test.parquet"]


def test_columns_are_named_by_emotion(predictions, tmp_path):
    predictions.write(tmp_path / "test.parquet")
    table = pq.read_table(tmp_path / "test.parquet")
    assert table.column_names == [
        *("clip_id", "dialog", "logit_angry", "label_angry", "logit_sad", "label_sad")
    ]
    assert table["label_angry"].to_pylist() == [1, 0, 1]


def test_branches_are_kept_and_files_of_before_have_none(predictions, tmp_path):
    file = tmp_path / "test.parquet"
    branches = {"text": predictions.logits + 1, "face": -predictions.logits}
    replace(predictions, branches=branches).write(file)
    found = Predictions.read(file)
    assert list(found.branches) == ["text", "face"]
    assert all(torch.equal(found.branches[name], branches[name]) for name in branches)
    names = [f"{branch}_logit_{emotion}" for branch in branches for emotion in found.emotions]
    assert pq.read_table(file).column_names[-4:] == names
    table = pq.read_table(file)
    facts = json.loads(table.schema.metadata[b"mesm"])
    del facts["branches"]
    pq.write_table(table.replace_schema_metadata({"mesm": json.dumps(facts)}), file)
    assert Predictions.read(file).branches == {}


def test_probabilities_are_calibrated_where_temperatures_are_known(predictions, tmp_path):
    file = tmp_path / "test.parquet"
    temperatures = Temperatures({"angry": 2.0, "sad": 0.5}, {}, split="valid", clips=9)
    predictions.write(file, temperatures)
    table = pq.read_table(file)
    for place, (emotion, value) in enumerate(temperatures.values.items()):
        wanted = (predictions.logits[:, place].double() / value).sigmoid().float()
        assert table[f"probability_{emotion}"].to_pylist() == wanted.tolist()
    assert torch.equal(Predictions.read(file).logits, predictions.logits)


def test_the_file_is_what_pyarrow_makes_of_the_columns(predictions, tmp_path):
    file = tmp_path / "test.parquet"
    odd = replace(predictions, clip_ids=["ä_1", "", "b_1"], dialogs=["a", "é", "b"])
    odd.write(file)
    table = pq.read_table(file)
    wanted = pa.table(
        {
            "clip_id": odd.clip_ids,
            "dialog": odd.dialogs,
            "logit_angry": odd.logits[:, 0].numpy(),
            "label_angry": odd.labels[:, 0].numpy().astype("int8"),
            "logit_sad": odd.logits[:, 1].numpy(),
            "label_sad": odd.labels[:, 1].numpy().astype("int8"),
        }
    )
    table.validate(full=True)
    assert table.replace_schema_metadata(None).equals(wanted)
    assert table.schema.remove_metadata() == wanted.schema


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all"])
def test_refuses_another_file(content, tmp_path):
    file = tmp_path / "test.parquet"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"test\.parquet holds no predictions"):
        Predictions.read(file)


def test_refuses_a_logit_that_changed_on_the_disk(predictions, tmp_path):
    file = tmp_path / "test.parquet"
    predictions.write(file)
    content = file.read_bytes()
    value = predictions.logits[1, 1].numpy().tobytes()
    changed = bytes([value[0] ^ 1]) + value[1:]
    assert content.count(value) >= 1
    file.write_bytes(content.replace(value, changed, 1))
    with pytest.raises(ValueError, match=r"test\.parquet holds no predictions"):
        Predictions.read(file)


def test_refuses_a_parquet_file_of_something_else(tiny_corpus):
    file = next((tiny_corpus / "data").glob("*.parquet"))
    with pytest.raises(ValueError, match="holds no predictions"):
        Predictions.read(file)


def test_origin_changes_with_all_that_logits_come_from(tiny_mesm, tiny_corpus, tmp_path):
    run = RunFolder(shutil.copytree(tiny_mesm, tmp_path / "run"))
    config = load_config(run.config)
    origin = origin_of(run, config)
    assert origin["weights"] == sha256(run.best)
    assert set(origin) == {"weights", "arguments", "settings", "corpus", "text/tokenizer.json"}

    def changed(values):
        other = origin_of(run, values)
        return {name for name in origin | other if origin.get(name) != other.get(name)}

    assert changed(config) == set()
    model = config.model.model_copy(update={"p": 0.4})
    assert changed(config.model_copy(update={"model": model})) == {"settings"}
    evaluation = config.evaluation.model_copy(update={"threshold": "0.5"})
    assert changed(config.model_copy(update={"evaluation": evaluation})) == set()
    corpus = shutil.copytree(tiny_corpus, tmp_path / "corpus")
    assert changed(config.model_copy(update={"corpus": corpus})) == set()
    manifest = json.loads((corpus / "manifest.json").read_text())
    (corpus / "manifest.json").write_text(json.dumps(manifest | {"spectrogram_mean": 0.0}))
    assert changed(config.model_copy(update={"corpus": corpus})) == {"corpus"}
    for name, file in (
        ("weights", run.best),
        ("arguments", run.model_arguments),
        ("text/tokenizer.json", run.tokenizer),
    ):
        content = file.read_bytes()
        file.write_bytes(content + b" ")
        assert changed(config) == {name}
        file.write_bytes(content)


def test_origin_knows_a_pretrained_text_model_s_subwords(tiny_mesm, tmp_path):
    run = RunFolder(shutil.copytree(tiny_mesm, tmp_path / "run"))
    albert = tmp_path / "albert"
    albert.mkdir()
    (albert / "spiece.model").write_bytes(b"1")
    config = load_config(run.config)
    text = config.model.text.model_copy(update={"path": albert})
    model = config.model.model_copy(update={"text": text})
    config = config.model_copy(update={"model": model})
    # Those that the run has kept; an earlier one has kept none.
    assert {name for name in origin_of(run, config) if "text" in name} == {"text/tokenizer.json"}
    run.tokenizer.unlink()
    first = origin_of(run, config)
    (albert / "spiece.model").write_bytes(b"2")
    second = origin_of(run, config)
    assert {name for name in first if first[name] != second[name]} == {"text/spiece.model"}
    text = config.model.text.model_copy(update={"freeze": True})  # says how weights came about
    model = config.model.model_copy(update={"text": text})
    assert origin_of(run, config.model_copy(update={"model": model})) == second


def test_origin_knows_the_features_of_a_baseline(tiny_mesm, tiny_corpus, tmp_path):
    corpus = shutil.copytree(tiny_corpus, tmp_path / "corpus")
    features = corpus / "features" / "features.json"
    features.parent.mkdir()
    features.write_text("1")
    config = ExperimentConfig.model_validate({"corpus": corpus, "model": {"name": "lf_lstm"}})
    first = origin_of(RunFolder(tiny_mesm), config)
    features.write_text("2")
    second = origin_of(RunFolder(tiny_mesm), config)
    assert {name for name in first if first[name] != second[name]} == {"features"}
