import shutil
from pathlib import Path

import pytest

from mesm.config.end_to_end import TextSettings
from mesm.data.text_choice import choose_subwords, saved_subwords
from mesm.inputs.subwords import UnigramSubwords
from mesm.runs.folder import RunFolder
from tests.mesm.tiny_text import write_text_model

TEXTS = ["the cat sat on the mat", "a dog and a cat ran", "mats and hats and bats"] * 5
SETTINGS = TextSettings(vocabulary=40)


def test_learns_from_the_texts_once(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    learnt = choose_subwords(SETTINGS, folder, TEXTS)
    assert isinstance(learnt, UnigramSubwords)
    assert learnt.vocab_size <= 40
    learnt.save(folder.tokenizer)
    # A resumed run reads what it began with, whatever the texts are now.
    again = choose_subwords(SETTINGS, folder, iter(()))
    assert isinstance(again, UnigramSubwords)
    assert again.tokens(TEXTS[0]) == learnt.tokens(TEXTS[0])
    saved = saved_subwords(SETTINGS, folder)
    assert saved.vocab_size == learnt.vocab_size


def test_names_the_run_that_lacks_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=str(tmp_path)):
        saved_subwords(SETTINGS, RunFolder(tmp_path))
    elsewhere = TextSettings(path=tmp_path / "nowhere")
    for choose in (
        lambda: saved_subwords(elsewhere, RunFolder(tmp_path)),
        lambda: choose_subwords(elsewhere, RunFolder(tmp_path), TEXTS),
    ):
        with pytest.raises(ValueError, match="nowhere"):
            choose()


def test_a_pretrained_tokenizer_is_kept_in_the_run(tmp_path: Path) -> None:
    model = write_text_model(tmp_path / "bert", "bert")
    settings = TextSettings(path=model)
    folder = RunFolder(tmp_path)
    found = choose_subwords(settings, folder, iter(()))
    found.save(folder.tokenizer)
    # A start takes the model's, whatever a start that was killed has left; a run goes on with its
    # own, wherever the model's folder is.
    other = write_text_model(tmp_path / "roberta", "roberta")
    assert choose_subwords(TextSettings(path=other), folder, iter(())).pad_id == 1
    shutil.rmtree(model)
    ids, mask = saved_subwords(settings, folder).encode(TEXTS, 8)
    for one, two in zip(found.encode(TEXTS, 8), (ids, mask), strict=True):
        assert one.equal(two)
    folder.tokenizer.write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a tokenizer of this project"):
        saved_subwords(settings, folder)


def test_what_is_no_encoder_is_named_before_its_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ValueError, match="'gpt2' is a decoder"):
        choose_subwords(TextSettings(path=tmp_path), RunFolder(tmp_path / "run"), iter(()))
