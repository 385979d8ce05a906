"""Properties of every group of settings."""

import pytest
from pydantic import ValidationError

from mesm.config.settings import Positive, Settings, Share


class Example(Settings):
    layers: Positive = 1
    dropout: Share = 0.0


@pytest.mark.parametrize(
    "values", [{"layers": 0}, {"dropout": 1.0}, {"dropout": -0.1}, {"layer": 2}]
)
def test_refuses_what_is_out_of_range_or_unknown(values):
    with pytest.raises(ValidationError, match=next(iter(values))):
        Example.model_validate(values)


def test_takes_the_ends_and_stays_as_it_is():
    settings = Example(layers=1, dropout=0.0)
    with pytest.raises(ValidationError, match="frozen"):
        settings.layers = 2
