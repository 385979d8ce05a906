from typing import Any

import pytest

from mesm.config.files import parse_config
from mesm.tables.names import describe_value, run_name, system_order


@pytest.mark.parametrize(
    ("name", "model", "text"),
    [
        ("fe2e", {}, "FE2E"),
        ("fe2e", {"modalities": "ta"}, "FE2E (TA)"),
        ("mesm", {"p": 0.5}, "MESM (p = 0.5)"),
        ("mesm", {"p": 1.0}, "MESM (p = 1)"),
        ("mesm", {"p": 0.35, "modalities": "tv"}, "MESM (p = 0.35, TV)"),
        ("mesm", {"p": 0.5, "selection": "hard"}, "MESM (p = 0.5, hard)"),
        ("mesm", {"p": 0.5, "selection": "weighted"}, "MESM (p = 0.5, weighted)"),
    ],
)
def test_runs_are_named_by_what_sets_them_apart(
    name: str, model: dict[str, Any], text: str
) -> None:
    config = parse_config({"corpus": "somewhere", "model": {"name": name, **model}}, "test")
    assert run_name(config) == text
    assert run_name(config.model.model_dump(mode="json")) == text


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ({"name": "lf_transformer"}, "LF-TRANS"),
        ({"name": "mesm", "p": [0.7, 0.5, 0.5]}, "MESM (p = 0.7/0.5/0.5)"),
        ({"name": "mesm", "p": [0.5, 0.5, 0.5]}, "MESM (p = 0.5)"),
        (
            {"name": "mesm", "p": {"face": [0.7, 0.5, 0.5], "audio": 0.5}, "query": "audio"},
            "MESM (p = face 0.7/0.5/0.5, audio 0.5, audio as query)",
        ),
        ({"name": "mesm", "p": 0.5, "query": "text"}, "MESM (p = 0.5)"),
        ({"name": "fe2e", "modalities": "va"}, "FE2E (AV)"),
        ({"name": "of another version"}, "of another version"),
    ],
)
def test_settings_of_other_versions_have_names_too(model: dict[str, Any], text: str) -> None:
    assert run_name(model) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (True, "yes"), (3, "3"), (0.10, "0.1"), ([], ""), ("a", "a")]
)
def test_values(value: object, text: str) -> None:
    assert describe_value(value) == text


def test_systems_stand_in_the_papers_order_and_unknown_ones_last() -> None:
    names = ["new", "mesm", "lf_lstm", "fe2e", "mult"]
    assert sorted(names, key=system_order) == ["lf_lstm", "mult", "fe2e", "mesm", "new"]
