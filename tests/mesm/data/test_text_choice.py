from pathlib import Path

import pytest

from mesm.config.end_to_end import TextSettings
from mesm.data.text_choice import choose_subwords, saved_subwords
from mesm.inputs.subwords import UnigramSubwords
from mesm.runs.folder import RunFolder

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
