"""Experiment files, good and bad."""

import pytest
import yaml

from mesm.experiment.grid import SHIPPED, load_experiment
from mesm.experiment.plan import expand

PAPER_P = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
SYSTEMS = ["lf_lstm", "lf_transformer", "emo_embs", "mult", "fe2e", "mesm"]


def test_shipped():
    names = ["demo", "miniature", "paper_iemocap", "paper_mosei", "smoke", "study", "where"]
    folded = ["iemocap_sessions"]  # tests/mesm/experiment/test_folds.py: folds want a corpus
    names = sorted(names + folded)
    assert sorted(file.stem for file in SHIPPED.iterdir()) == names
    assert all(expand(load_experiment(name)) for name in names if name not in folded)
    with pytest.raises(ValueError, match=f"shipped are {', '.join(names)}"):
        load_experiment("no_such")


@pytest.mark.parametrize("name", ["miniature", "paper_iemocap", "paper_mosei"])
def test_shipped_has_the_paper_s_grids(name):
    experiment = load_experiment(name)
    corpus = name.removeprefix("paper_")
    assert str(experiment.corpus) == f"prepared/{corpus}"
    assert experiment.seeds == [0, 1, 2]
    (results,) = experiment.grids["results"]
    assert results.configs == [f"{corpus}_{system}" for system in SYSTEMS]
    if corpus != "mosei":
        fe2e, mesm = experiment.grids["ablation"]
        assert fe2e.configs == [f"{corpus}_fe2e"]
        assert fe2e.vary == {"model.modalities": ["tav", "ta", "tv", "va", "t", "a", "v"]}
        assert mesm.configs == [f"{corpus}_mesm"]
        assert mesm.vary == {"model.modalities": ["tav", "ta", "tv"]}
    (curve,) = experiment.grids["p_curve"]
    assert curve.configs == [f"{corpus}_mesm"]
    if corpus == "miniature":
        assert curve.vary["model.p"] == [0.1, 0.3, 0.5, 0.7, 0.9]
        assert curve.vary["model.selection"] == ["straight_through", "hard"]
    else:
        assert curve.vary["model.p"] == PAPER_P


def test_smoke_can_be_expanded():
    cells = expand(load_experiment("smoke"))
    assert len(cells) == 11
    assert len({cell.name for cell in cells}) == 11


GOOD = {"grids": {"results": {"configs": ["miniature_fe2e"]}}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (GOOD | {"sedes": [1]}, "there is no key sedes; did you mean seeds"),
        (GOOD | {"zzz": 1}, "there is no key zzz; known are corpus, seeds"),
        (GOOD | {"seeds": [-1]}, "seeds.0: .*greater than or equal to 0, got -1"),
        (GOOD | {"seeds": []}, "seeds: .*at least 1 item"),
        (GOOD | {"splits": ["dev"]}, "splits.0: .*'train', 'valid' or 'test', got 'dev'"),
        ({}, "grids is missing"),
        ({"grids": {}}, "grids: .*at least 1 item"),
        ({"grids": {"a": {"config": ["x"]}}}, "no key grids.a.0.config; did you mean configs"),
        ({"grids": {"a": {"configs": []}}}, "grids.a.0.configs: .*at least 1 item"),
        ({"grids": {"a": {"configs": ["x"], "vary": {"model.p": []}}}}, "vary.model.p: .*at least"),
        ({"grids": {"a": 3}}, "grids.a: .*list"),
        ({"grids": 3}, "grids: .*dictionary"),
        ([1], "wanted keys and values, got list"),
    ],
)
def test_refuses(values, message, tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(ValueError, match=message) as caught:
        load_experiment(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_refuses_no_yaml_and_no_file(tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text("a: [")
    with pytest.raises(ValueError, match="not YAML"):
        load_experiment(file)
    with pytest.raises(
        ValueError,
        match="is no experiment file; shipped are demo, iemocap_sessions, min",
    ):
        load_experiment(tmp_path / "none.yaml")


def test_a_group_is_one_grid_or_several(tmp_path):
    file = tmp_path / "good.yaml"
    grid = {"configs": ["miniature_fe2e"]}
    file.write_text(yaml.safe_dump({"grids": {"one": grid, "two": [grid, grid]}}))
    experiment = load_experiment(file)
    assert [len(grids) for grids in experiment.grids.values()] == [1, 2]
    assert (experiment.seeds, experiment.splits) == ([0], ["test"])
