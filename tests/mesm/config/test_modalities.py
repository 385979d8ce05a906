import pytest

from mesm.config.modalities import Modality, attended, parse_modalities


@pytest.mark.parametrize(("given", "wanted"), [("tav", "tav"), ("vat", "tav"), ("va", "av")])
def test_letters_come_in_one_order(given: str, wanted: str) -> None:
    assert parse_modalities(given) == wanted


@pytest.mark.parametrize("given", ["", "tt", "x", "tax", "T"])
def test_refuses_what_is_no_subset(given: str) -> None:
    with pytest.raises(ValueError, match="modalities must be one of"):
        parse_modalities(given)


def test_what_is_called_what_in_files_and_checkpoints() -> None:
    assert [(m.letter, m.media, m.stream, m.cue, m.content) for m in Modality] == [
        ("t", "text", "text", "text", "text"),
        ("a", "audio", "audio", "sound", "sound"),
        ("v", "face", "video", "face", "pictures"),
    ]


@pytest.mark.parametrize(
    ("letters", "wanted"), [("tav", ["face", "audio"]), ("tv", ["face"]), ("t", [])]
)
def test_what_the_attention_looks_at(letters: str, wanted: list[str]) -> None:
    assert attended(letters) == wanted
