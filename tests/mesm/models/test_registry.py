"""A system is one row; what else knows the systems agrees with it."""

from typing import get_args

from mesm.config.experiment import AnySystem
from mesm.config.files import MODEL_SETTINGS, shipped
from mesm.models.registry import SYSTEMS


def test_a_config_may_hold_the_settings_of_every_system_and_of_no_other():
    assert {system.settings for system in SYSTEMS.values()} == set(get_args(AnySystem))
    assert {name: system.settings for name, system in SYSTEMS.items()} == MODEL_SETTINGS


def test_every_system_has_shipped_settings():
    assert {name.removeprefix("mosei_") for name in shipped() if name.startswith("mosei_")} == set(
        SYSTEMS
    )


def test_systems_stand_in_the_order_of_the_papers_tables():
    titles = ["LF-LSTM", "LF-TRANS", "EmoEmbs", "MulT", "FE2E", "MESM"]
    assert [system.title for system in SYSTEMS.values()] == titles
    assert all(system.name == name for name, system in SYSTEMS.items())
    assert list(SYSTEMS) == list(MODEL_SETTINGS)
