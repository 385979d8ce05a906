"""Scores are of one emotion a clip or of several, and their shapes follow."""

import pytest
from pydantic import TypeAdapter, ValidationError

from mesm.runs.scores import AnyAverages, AnyCalibration, WholeScores, is_single_label

SEVERAL = {"accuracy": 0.5, "weighted_accuracy": 0.5, "f1": 0.5}
ONE = {"accuracy": 0.5, "weighted_f1": 0.5, "macro_f1": 0.5, "uar": 0.5}


def scores(average: dict[str, float], **facts: object) -> dict[str, object]:
    threshold = {"policy": "0.5"}
    base = {"clips": 4, "headline": "accuracy", "threshold": threshold, "emotions": {}}
    return base | {"average": average} | facts


def refused(content: dict[str, object]) -> str:
    with pytest.raises(ValidationError) as error:
        TypeAdapter(WholeScores).validate_python(content)
    return str(error.value)


def test_scores_have_the_f1_of_their_kind() -> None:
    check = TypeAdapter(WholeScores).validate_python
    for right in (scores(SEVERAL), scores(ONE, task="single_label")):
        assert check(right) == right
        assert is_single_label(right) == ("task" in right)
    assert "average has no macro_f1" in refused(scores(SEVERAL, task="single_label"))
    assert "average has no f1, which" in refused(scores(ONE))
    assert "average has no f1_weighted" in refused(scores(SEVERAL, f1_variant="weighted"))


def test_the_kind_of_an_average_is_known_by_its_keys() -> None:
    check = TypeAdapter(AnyAverages).validate_python
    assert check(SEVERAL) == SEVERAL
    assert check(ONE) == ONE
    for lacking in ({**ONE, "macro_f1": None}, {"uar": 0.5}, {"f1": 0.5}):
        with pytest.raises(ValidationError):
            check(lacking)


def test_a_calibration_is_of_each_emotion_or_of_the_most_probable() -> None:
    check = TypeAdapter(AnyCalibration).validate_python
    one = {"ece": 0.1, "reliability": []}
    for right in (
        {"bins": 15, "top": one},
        {"bins": 15, "emotions": {"sad": one}, "average": {"ece": 0.1}},
    ):
        assert check(right) == right
    with pytest.raises(ValidationError):
        check({"bins": 15, "emotions": {}, "average": {}})
