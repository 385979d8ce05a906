import pytest

from mesm.config.modalities import parse_modalities


@pytest.mark.parametrize(("given", "wanted"), [("tav", "tav"), ("vat", "tav"), ("va", "av")])
def test_letters_come_in_one_order(given: str, wanted: str) -> None:
    assert parse_modalities(given) == wanted


@pytest.mark.parametrize("given", ["", "tt", "x", "tax", "T"])
def test_refuses_what_is_no_subset(given: str) -> None:
    with pytest.raises(ValueError, match="modalities must be one of"):
        parse_modalities(given)
