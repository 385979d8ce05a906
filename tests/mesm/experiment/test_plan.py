"""Which cells a grid has, and what is said about those that cannot be."""

import json
import shutil

import pytest

from mesm.config.files import dump_config, load_config
from mesm.corpora.manifest import read_manifest
from mesm.corpora.prepared import PreparedCorpus
from mesm.experiment.grid import Experiment
from mesm.experiment.plan import check_cells, choose, describe_plan, expand
from mesm.runs.folder import RunFolder


def experiment(**values) -> Experiment:
    return Experiment.model_validate(values)


def test_cells_of_a_grid():
    cells = expand(
        experiment(
            corpus="here",
            seeds=[0, 1],
            overrides=["training.epochs=3"],
            grids={
                "curve": {
                    "configs": ["miniature_mesm"],
                    "vary": {
                        "model.p": [0.1, 0.5],
                        "model.selection": ["straight_through", "hard"],
                    },
                }
            },
        )
    )
    assert [cell.name for cell in cells] == [
        f"miniature_mesm{p}{selection}--seed-{seed}"
        for seed in (0, 1)
        for p in ("--p-0.1", "")
        for selection in ("", "--selection-hard")
    ]
    cell = cells[5]
    assert cell.config == load_config(
        "miniature_mesm",
        [
            "corpus=here",
            "training.epochs=3",
            "training.seed=1",
            "model.p=0.1",
            "model.selection=hard",
        ],
    )
    assert cell.changes == {"model.p": 0.1, "model.selection": "hard"}


def test_the_same_cell_of_two_groups_is_one_whatever_their_order():
    results = {"configs": ["miniature_fe2e", "miniature_mesm"]}
    curve = {"configs": ["miniature_mesm"], "vary": {"model.p": [0.3, 0.5]}}
    names = []
    for grids in ({"results": results, "curve": curve}, {"curve": curve, "results": results}):
        cells = expand(experiment(grids=grids))
        assert len(cells) == 3
        shared = next(cell for cell in cells if cell.name == "miniature_mesm--seed-0")
        assert sorted(shared.groups) == ["curve", "results"]
        names.append({cell.name for cell in cells})
    assert names[0] == names[1]


def test_a_grid_s_own_seeds_and_overrides():
    grid = {
        "configs": ["miniature_fe2e"],
        "seeds": [7],
        "overrides": ["training.epochs=2", "model.channels=[4,6,8,10]"],
    }
    (cell,) = expand(experiment(grids={"a": grid}), ["training.batch_size=3"])
    assert cell.name == "miniature_fe2e--channels-4,6,8,10--epochs-2--seed-7"
    assert cell.config.training.batch_size == 3


def test_the_caller_s_overrides_beat_the_file_s_and_a_grid_s_but_no_varied_setting():
    grid = {
        "configs": ["miniature_mesm"],
        "overrides": ["training.epochs=2", "training.batch_size=5"],
        "vary": {"model.p": [0.3]},
    }
    both = experiment(overrides=["training.patience=9"], grids={"a": grid})
    asked = ["training.epochs=4", "training.patience=3", "model.p=0.7"]
    (cell,) = expand(both, asked)
    training = cell.config.training
    assert (training.epochs, training.patience, training.batch_size) == (4, 3, 5)
    assert cell.config.model.p == 0.3
    assert cell.name == "miniature_mesm--p-0.3--batch_size-5--seed-0"


def test_names_that_meet_are_told_apart(tmp_path):
    other = tmp_path / "miniature_fe2e.yaml"
    other.write_text(dump_config(load_config("miniature_fe2e", ["model.hidden=64"])))
    cells = expand(experiment(grids={"a": {"configs": ["miniature_fe2e", str(other)]}}))
    assert len({cell.name for cell in cells}) == 2
    assert all(cell.name.startswith("miniature_fe2e--seed-0--") for cell in cells)


def test_a_name_is_a_plain_file_name():
    grid = {"configs": ["miniature_fe2e"], "vary": {"model.vgg11": ["../a b/c*.pth", None]}}
    names = [cell.name for cell in expand(experiment(grids={"a": grid}))]
    assert names == ["miniature_fe2e--vgg11-.._a_b_c_.pth--seed-0", "miniature_fe2e--seed-0"]


def test_every_setting_that_does_not_fit_is_named_at_once():
    grids = {
        "a": {
            "configs": ["miniature_mesm"],
            "vary": {"model.p": [0.5, 1.5], "training.epochs": [0]},
        },
        "b": {"configs": ["no_such"], "seeds": [0, 1]},
        "c": {"configs": ["miniature_fe2e"], "vary": {"model.modalites": ["t", "a"]}},
    }
    with pytest.raises(ValueError) as caught:
        expand(experiment(grids=grids))
    message = str(caught.value)
    assert message.startswith("4 problems:")
    assert "a: miniature_mesm--p-1.5--epochs-0--seed-0" in message
    assert "model.p" in message
    assert "training.epochs" in message
    assert "b: no_such--seed-0 and 1 more: no_such is no config file" in message
    assert "c: miniature_fe2e--modalites-t--seed-0" in message
    assert "did you mean model.modalities" in message


def test_choose():
    cells = expand(
        experiment(
            seeds=[0, 1],
            grids={
                "results": {"configs": ["miniature_fe2e", "miniature_mesm"]},
                "curve": {"configs": ["miniature_mesm"], "vary": {"model.p": [0.3, 0.5]}},
            },
        )
    )
    assert choose(cells, None) == cells
    assert len(choose(cells, "results")) == 4
    assert len(choose(cells, "curve")) == 4
    assert len(choose(cells, "*--seed-1")) == 3
    assert [c.name for c in choose(cells, "*fe2e*-0")] == ["miniature_fe2e--seed-0"]
    with pytest.raises(ValueError, match=r"--only nothing: .*no group \(curve, results\)"):
        choose(cells, "nothing")


def test_check_names_missing_corpora_and_weights_and_other_runs(tiny_fe2e, tiny_corpus, tmp_path):
    grids = {
        "a": {"configs": ["miniature_fe2e"], "vary": {"model.vgg11": [None, "none.pth"]}},
        "b": {"configs": ["miniature_fe2e"], "overrides": ["corpus=gone"], "seeds": [0, 1]},
    }
    cells = expand(experiment(corpus=str(tiny_corpus), grids=grids))
    shutil.copytree(tiny_fe2e, cells[0].folder(tmp_path))
    with pytest.raises(ValueError) as caught:
        check_cells(cells, tmp_path, ["test"])
    message = str(caught.value)
    assert message.splitlines()[0] == "3 problems:"
    assert len(message.splitlines()) == 4
    assert "miniature_fe2e--seed-0" in message
    assert "this run has other settings: " in message
    assert "miniature_fe2e--vgg11-none.pth--seed-0: model.vgg11: none.pth is no file" in message
    assert "fe2e--corpus-gone--seed-0 and 1 more: gone is not a prepared corpus" in message


def test_check_names_a_checkpoint_that_cannot_be_read(tiny_corpus, tmp_path):
    cells = expand(
        experiment(corpus=str(tiny_corpus), grids={"a": {"configs": ["miniature_mesm"]}})
    )
    folder = RunFolder(cells[0].folder(tmp_path))
    folder.last.mkdir(parents=True)
    folder.config.write_text(dump_config(cells[0].config))
    (folder.last / "state.json").write_text("{")
    with pytest.raises(ValueError, match=r"seed-0: .*state\.json: cannot be read .*; delete"):
        check_cells(cells, tmp_path, ["test"])


def test_check_names_missing_features_once_for_all_their_cells(
    tiny_corpus, tiny_features, tmp_path
):
    grids = {"a": {"configs": ["miniature_lf_lstm", "miniature_fe2e"], "seeds": [0, 1]}}
    cells = expand(experiment(corpus=str(tiny_corpus), grids=grids))
    with pytest.raises(ValueError, match="mesm features") as caught:
        check_cells(cells, tmp_path, ["test"])
    assert "miniature_fe2e" not in str(caught.value)
    check_cells(expand(experiment(corpus=str(tiny_features), grids=grids)), tmp_path, ["test"])


def test_check_opens_a_corpus_once(tiny_features, tmp_path, monkeypatch):
    configs = ["miniature_lf_lstm", "miniature_fe2e"]
    folds = {"configs": configs, "folds": {"by": "dialog", "k": 3}}
    grids = {"a": folds, "b": {"configs": configs}}
    cells = expand(experiment(corpus=str(tiny_features), grids=grids))
    opened = []

    def open_one(path):
        opened.append(path)
        return PreparedCorpus(path, read_manifest(path))

    monkeypatch.setattr(PreparedCorpus, "open", open_one)
    check_cells(cells, tmp_path, ["test"])
    assert opened == [tiny_features]


def test_check_passes_what_fits(tiny_corpus, tmp_path):
    cells = expand(
        experiment(corpus=str(tiny_corpus), grids={"a": {"configs": ["miniature_mesm"]}})
    )
    check_cells(cells, tmp_path / "new", ["test", "valid"])
    assert not (tmp_path / "new").exists()


def test_plan_can_be_read_back():
    values = experiment(seeds=[3], grids={"a": {"configs": ["miniature_fe2e"]}}, splits=["valid"])
    cells = expand(values)
    plan = json.loads(json.dumps(describe_plan(values, cells)))
    assert plan["splits"] == ["valid"]
    assert plan["groups"] == {"a": ["miniature_fe2e--seed-3"]}
    cell = plan["cells"]["miniature_fe2e--seed-3"]
    assert cell["folder"] == "runs/miniature_fe2e--seed-3"
    assert cell["seed"] == cell["settings"]["training"]["seed"] == 3


def taught(teacher="miniature_fe2e"):
    grids = [
        {"configs": ["miniature_fe2e"]},
        {"configs": ["miniature_mesm"], "teacher": teacher, "vary": {"model.p": [0.5, 0.3]}},
    ]
    return Experiment(seeds=[0, 1], grids={"results": grids})


def test_a_cell_is_taught_by_the_run_of_its_seed(tmp_path):
    cells = {cell.name: cell for cell in expand(taught(), out=tmp_path)}
    cell = cells["miniature_mesm--p-0.3--teacher-miniature_fe2e--seed-1"]
    assert cell.teacher == "miniature_fe2e--seed-1"
    assert cell.config.training.teacher == cells[cell.teacher].folder(tmp_path)
    assert cells[cell.teacher].teacher is None
    assert len(cells) == 6


def test_teachers_are_chosen_with_those_they_teach():
    chosen = choose(expand(taught()), "*--p-0.3--*--seed-1")
    assert [cell.name for cell in chosen] == [
        "miniature_fe2e--seed-1",
        "miniature_mesm--p-0.3--teacher-miniature_fe2e--seed-1",
    ]


def test_a_teacher_that_is_no_cell_is_refused():
    message = "its teacher, iemocap_fe2e--seed-0, is no cell of the experiment"
    with pytest.raises(ValueError, match=message):
        expand(taught("iemocap_fe2e"))
