"""The model card: its metadata as the hub documents and reads it, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from mesm.config.files import load_config
from mesm.corpora.manifest import Manifest
from mesm.publishing.card import METRIC_TYPES, CardFacts, card
from mesm.publishing.terms import IDENTIFIERS, licence_of
from tests.mesm.tables.cases import manifest, scores

# https://github.com/huggingface/hub-docs/blob/main/modelcard.md
FIELDS = {
    *("language", "license", "license_name", "license_link", "library_name", "tags", "datasets"),
    *("metrics", "base_model", "pipeline_tag", "model-index"),
}
RESULT_FIELDS = {
    "task": {"type", "name"},
    "dataset": {"type", "name", "config", "split", "revision", "args"},
    "metrics": {"type", "value", "name", "config", "args", "verified"},
}


def with_intervals(of: dict[str, Any]) -> dict[str, Any]:
    def ends(values: dict[str, Any]) -> dict[str, Any]:
        return {name: [0.25, 0.75] for name, one in values.items() if isinstance(one, float)}

    for values in of["emotions"].values():
        values.setdefault("positives", 3)
    bounds = {
        **{"level": 0.95, "draws": 7, "units": 4, "cluster": "clip"},
        "emotions": {name: ends(values) for name, values in of["emotions"].items()},
        "average": ends(of["average"]),
    }
    return of | {"intervals": bounds}


def single(emotions: list[str]) -> dict[str, Any]:
    one = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "positives": 3, "decided": 4}
    average = {"accuracy": 0.6, "weighted_f1": 0.7, "macro_f1": 0.8, "uar": 0.9}
    found = scores() | {"task": "single_label", "average": average, "headline": "accuracy"}
    return found | {"emotions": {name: dict(one) for name in emotions}}


def facts(**changes: Any) -> CardFacts:
    about = Manifest(**manifest() | changes.pop("manifest", {}))
    found = changes.pop("scores", None) or scores()
    values: dict[str, Any] = {
        "name": "my-model",
        "config": load_config("iemocap_mesm", ["model.p=0.7"]),
        "manifest": about,
        "headline": "accuracy",
        "scores": with_intervals(found),
        "flops": {"clips": 32, "total": 2.5e9, "dense": 5e9},
        "parameters": 12345,
        "licence": licence_of(about, changes.pop("licence", None)),
        "epochs": 9,
        "processes": 1,
        "curve": True,
    }
    return CardFacts(**values | changes)


def saved(of: CardFacts, folder: Path) -> ModelCard:
    (folder / "README.md").write_text(card(of), encoding="utf-8")
    return ModelCard.load(folder / "README.md")


@pytest.mark.parametrize("synthetic", [True, False, None])
def test_the_hubs_client_reads_it_back(synthetic: bool | None, tmp_path: Path) -> None:
    found = saved(facts(manifest={"synthetic": synthetic}), tmp_path)
    data = found.data
    assert data.library_name == "mesm"
    assert (data.language, data.pipeline_tag) == ("en", "video-classification")
    assert data.license == ("apache-2.0" if synthetic else "other")
    assert (data.license_name is None) == bool(synthetic)
    assert data.metrics == ["accuracy", "f1"]
    assert data.model_name == "my-model"
    values = {(one.metric_type, one.metric_value) for one in data.eval_results}
    assert values == {("accuracy", 0.75), ("f1", 0.5)}
    assert {one.dataset_split for one in data.eval_results} == {"test"}
    # Nothing is lost when the hub's client writes it again.
    assert yaml.safe_load(str(found).split("---")[1]) == found.data.to_dict()


def test_its_fields_are_documented_ones() -> None:
    for of in (facts(), facts(licence="cc-by-4.0"), facts(manifest={"synthetic": True})):
        values = yaml.safe_load(card(of).split("---\n")[1])
        assert set(values) <= FIELDS
        assert values["license"] in IDENTIFIERS | {"other"}
        assert ("license_link" in values) == (values["license"] == "other")
        for model in values["model-index"]:
            assert set(model) == {"name", "results"}
            for result in model["results"]:
                assert set(result) <= set(RESULT_FIELDS)
                assert set(result["task"]) <= RESULT_FIELDS["task"]
                assert set(result["dataset"]) <= RESULT_FIELDS["dataset"]
                for metric in result["metrics"]:
                    assert set(metric) <= RESULT_FIELDS["metrics"]
                    assert isinstance(metric["value"], float)


def test_it_says_what_it_must() -> None:
    text = card(facts())
    for words in (
        "MESM (p = 0.7), trained on IEMOCAP",
        "## What it is for",
        "## What it must not be used for",
        "hiring, work, school",
        "## Limits",
        "sign its release form",
        "| average    | 75.0 [25.0, 75.0] |",
        "95 % intervals by a bootstrap over 4 clips, 7 draws",
        "2.5 GFLOPs a clip (mean of 32 test clips), 50 % of a dense one",
        "12,345 parameters",
        f"{load_config('iemocap_mesm').training.batch_size} clips a step",
        "](p_curve.png)",
        "load_published",
        "2021.naacl-main.417",
    ):
        assert words in text, words
    assert "drawn faces" not in text
    assert "p_curve" not in card(facts(curve=False))


def test_a_step_has_the_clips_of_all_processes() -> None:
    of_one = load_config("iemocap_mesm").training.batch_size
    assert f" {3 * of_one} clips a step" in card(facts(processes=3))


def test_of_drawn_faces_it_says_so() -> None:
    text = card(facts(manifest={"synthetic": True}))
    assert "**It knows drawn faces and made-up sounds only.**" in text
    assert "in IEMOCAP's layout" in text
    assert "iemocap-release-form" not in text
    assert "with the consent of" not in text


def test_one_emotion_a_clip_has_its_own_scores(tmp_path: Path) -> None:
    emotions = list(manifest()["emotions"])
    found = saved(facts(scores=single(emotions), manifest={"single_label": True}), tmp_path)
    assert len(found.data.eval_results) == 4
    assert found.data.metrics == ["accuracy", "f1", "recall"]
    assert "| unweighted average recall | 90.0 [25.0, 75.0] |" in found.text
    assert "decides for one of 6 emotions" in found.text
    assert set(METRIC_TYPES) >= {"accuracy", "uar", "weighted_f1", "macro_f1"}


def test_names_of_ones_own_cannot_break_it(tmp_path: Path) -> None:
    odd = {"corpus": "table", "named": "a | b <script>: #1\u201d", "synthetic": False}
    emotions = ["so|so", "<b>glad", "no: yes", "- sad", "*", "`x`"]
    found = scores()
    names = dict(zip(found["emotions"], emotions, strict=True))
    found["emotions"] = {names[name]: values for name, values in found["emotions"].items()}
    about = odd | {"emotions": emotions, "counts": {}, "averages": {}}
    of = facts(manifest=about, scores=found, licence="unknown", name="x: [y]")
    read = saved(of, tmp_path)
    assert read.data.model_name == "x: [y]"
    assert {one.dataset_name for one in read.data.eval_results} == {odd["named"]}
    assert "<script>" not in read.text.replace("\\<script>", "")
    (line,) = (one for one in read.text.splitlines() if "so" in one and one.startswith("| so"))
    assert line.replace("\\|", "").count("|") == 5
    assert read.data.language is None
