"""The page on its model: facts, and a warning that fits what it was trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mesm.web.about import details, head
from mesm.web.studio import Studio


def test_drawn_models_and_others_are_told_apart(own_mesm: Path) -> None:
    studio = Studio.load(own_mesm, device="cpu")
    trained = studio.pipeline.trained
    for synthetic, said in ((True, "On people, its answers mean nothing"), (False, "judge people")):
        studio.pipeline.trained = replace(
            trained,
            preprocessing=replace(trained.preprocessing, synthetic=synthetic, title="<b>mine</b>"),
        )
        shown = head(studio)
        assert said in shown
        assert "&lt;b&gt;mine&lt;/b&gt;" in shown  # names of a folder from elsewhere are text


def test_details_name_the_weights(own_mesm: Path) -> None:
    studio = Studio.load(own_mesm, device="cpu")
    shown = details(studio)
    assert studio.pipeline.trained.weights[:16] in shown
    assert "200 MB" in shown
    assert str(own_mesm.parent) not in shown  # the folder's name alone
