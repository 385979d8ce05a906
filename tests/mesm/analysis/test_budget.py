"""The budget search on a tiny run: it meets its share, always the same way, or says why not."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mesm.analysis.budget import LEAST_P, Search, Trial, budget_lines, find_budget, parse_budgets
from mesm.analysis.costs import FlopTally
from mesm.evaluation.metrics import Thresholds, score
from mesm.evaluation.run import Run
from mesm.models import FE2E

SHARES = [0.75, 0.9]
# Arguments of MESM that FE2E has not.
MESM_ALONE = (
    *("attention_dims", "p", "selection", "query", "query_shuffle", "local_start"),
    "positive_start",
)


@pytest.mark.parametrize(
    ("text", "shares"), [("0.5", [0.5]), ("0.7,0.5,0.7", [0.5, 0.7]), ("1.2", [1.2])]
)
def test_parse(text: str, shares: list[float]) -> None:
    assert parse_budgets(text) == shares


@pytest.mark.parametrize("text", ["", "half", "0", "-0.5", "nan", "inf", "0.5,", "0.1:0.9:0.1"])
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="budget must be shares of the dense FLOPs"):
        parse_budgets(text)


@pytest.fixture(scope="module")
def run(tiny_mesm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("budget") / "run"
    shutil.copytree(tiny_mesm, copy)
    return copy


@pytest.fixture(scope="module")
def found(run: Path, tiny_fe2e: Path) -> dict[str, Any]:
    return find_budget(run, SHARES, baseline=tiny_fe2e, repeats=1)


def independent_share(run: Path, p: list[float], split: str) -> float:
    """MESM's FLOPs at p over those of an FE2E that runs on the same clips."""
    opened = Run.open_sparse(run, device="cpu")
    arguments = json.loads((run / "config.json").read_text())
    for key in MESM_ALONE:
        del arguments[key]
    dense_model = FE2E(**arguments).eval()
    opened.sparse.set_p(p)
    sparse, dense = FlopTally(), FlopTally()
    for batch in opened.batches(split, 3):  # other batches than the search's
        sparse.count(opened.sparse, batch)
        dense.count(dense_model, batch)
    return sparse.per_clip(1)["total"] / dense.per_clip(1)["total"]


def test_file_holds_what_is_returned(found: dict[str, Any], run: Path) -> None:
    assert json.loads((run / "budget.json").read_text()) == found
    assert not list(run.glob(".*"))


def test_meets_the_share_within_a_percentage_point(found: dict[str, Any], run: Path) -> None:
    assert [(point["budget"], point["kind"]) for point in found["points"]] == [
        (share, kind) for share in SHARES for kind in ("uniform", "per block")
    ]
    for point in found["points"]:
        share = independent_share(run, point["p"], "valid")
        assert abs(share - point["budget"]) <= 0.01
        # The query's projection is counted once per clip, whatever the batches.
        assert point["valid"]["share"] == pytest.approx(share, rel=1e-9)
        assert point["share"] == pytest.approx(independent_share(run, point["p"], "test"))


def test_per_block_is_at_least_as_good_on_validation(found: dict[str, Any]) -> None:
    for uniform, best in zip(found["points"][::2], found["points"][1::2], strict=True):
        assert len(set(uniform["p"])) == 1
        one, two = uniform["valid"], best["valid"]
        assert (two["f1"], -two["loss"]) >= (one["f1"], -one["loss"])
    # Losses differ everywhere, so some step is better than none.
    assert any(len(set(point["p"])) > 1 for point in found["points"])
    assert any(len(set(trial["p"])) == 3 for trial in found["trials"])


def test_scores_are_those_of_a_run_with_that_p(found: dict[str, Any], run: Path) -> None:
    point = found["points"][1]
    opened = Run.open_sparse(run, point["p"], device="cpu")
    thresholds = Thresholds.tuned(*opened.predict("valid"))
    scores = score(*opened.predict("test"), thresholds, opened.emotions)
    for key in ("clips", "emotions", "average", "threshold"):
        assert point[key] == scores[key]
    assert Run.open_sparse(run).p == 0.5  # the run itself is as it was
    assert found["baseline"]["run"] == "fe2e"
    for point in [*found["points"], found["baseline"]]:
        assert point["latency_ms_per_clip"]["model"] > 0


def test_is_deterministic(found: dict[str, Any], run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    again = find_budget(tmp_path / "run", SHARES[:1], repeats=1)
    assert [point["p"] for point in again["points"]] == [
        point["p"] for point in found["points"][:2]
    ]
    assert [point["valid"] for point in again["points"]] == [
        point["valid"] for point in found["points"][:2]
    ]


@pytest.mark.parametrize("share", [0.05, 1.5])
def test_refuses_what_no_p_computes_and_names_what_some_do(share: float, run: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in run.iterdir()}
    least = independent_share(run, [LEAST_P] * 3, "valid")
    most = independent_share(run, [1.0] * 3, "valid")
    message = rf"budget {share}: MESM computes {least:.3f} of .* and {most:.3f} at p = 1"
    with pytest.raises(ValueError, match=message):
        find_budget(run, [share], repeats=1)
    assert {file: file.stat().st_mtime_ns for file in run.iterdir()} == before


def test_other_refusals(run: Path, tiny_fe2e: Path) -> None:
    with pytest.raises(ValueError, match="wanted at least one share"):
        find_budget(run, [])
    with pytest.raises(ValueError, match="1 timed pass"):
        find_budget(run, [0.8], repeats=0)
    with pytest.raises(ValueError, match="wanted a MESM run, got FE2E"):
        find_budget(tiny_fe2e, [0.8])
    with pytest.raises(ValueError, match="wanted an FE2E run"):
        find_budget(run, [0.8], baseline=run)


class Staircase(Search):
    """A search whose measurements are made up: the share is a staircase in each p."""

    def __init__(self, worth: tuple[float, float, float], stair: float = 1e-4) -> None:
        self.worth, self.stair = worth, stair
        self.trials = {}

    def measure(self, p: tuple[float, ...]) -> Trial:
        weights = (0.5, 0.2, 0.1)
        stairs = [round(x / self.stair) * self.stair for x in p]
        share = 0.15 + sum(w * x for w, x in zip(weights, stairs, strict=True))
        loss = sum((x - best) ** 2 for x, best in zip(p, self.worth, strict=True))
        self.trials[p] = Trial(p, share, 0.5, loss)
        return self.trials[p]


class Bar:
    def __init__(self) -> None:
        self.steps = 0

    def update(self) -> None:
        self.steps += 1

    def set_postfix_str(self, text: str) -> None:
        pass


def test_finds_the_blocks_that_are_worth_it() -> None:
    """The optimum under the budget is known: 0.5·0.3 + 0.2·0.8 + 0.1·0.9 + 0.15 = 0.55."""
    bar = Bar()
    search = Staircase(worth=(0.3, 0.8, 0.9))
    uniform, best = search.best(0.55, bar)
    assert uniform.p == pytest.approx((0.5, 0.5, 0.5), abs=0.01)
    assert abs(best.share - 0.55) <= 0.005
    assert best.loss < 0.1 * uniform.loss
    assert bar.steps == 1 + 18
    # A few passes per trial, or an epoch would be cheaper.
    assert len(search.trials) < 6 * 19


def test_says_where_a_sharp_attention_leaves_a_gap() -> None:
    with pytest.raises(ValueError, match=r"budget 0\.55: no p computes it within 0\.5 percentage"):
        Staircase(worth=(0.5, 0.5, 0.5), stair=0.4).best(0.55, Bar())


def test_lines_name_shares_and_overrides(found: dict[str, Any]) -> None:
    first, *lines = budget_lines(found)
    assert "FE2E's extractors of the same widths" in first
    assert len(lines) == 4
    point = found["points"][3]
    assert lines[3].endswith(f"model.p=[{','.join(str(number) for number in point['p'])}]")
    assert "per block" in lines[3]


def test_a_model_without_frames_has_nothing_to_budget(run: Path, monkeypatch) -> None:
    opened = Run.open_sparse(run)
    monkeypatch.setattr(type(opened.sparse), "feature_extractors", property(lambda model: {}))
    batches = list(opened.batches("valid"))
    assert all(isinstance(batch.faces, torch.Tensor) for batch in batches)
    with pytest.raises(ValueError, match="no faces or sound are looked at"):
        Search(opened, batches)


def test_one_emotion_a_clip_is_searched_by_its_macro_f1(single_mesm: Path) -> None:
    opened = Run.open_sparse(single_mesm, device="cpu")
    trial = Search(opened, list(opened.batches("valid", 8))).measure((0.5, 0.5, 0.5))
    logits, labels = opened.predict("valid")
    wanted = torch.nn.functional.cross_entropy(logits.double(), labels.argmax(1))
    assert trial.loss == pytest.approx(float(wanted), rel=1e-5)
    assert (
        trial.f1
        == opened.task.score(*(logits, labels, opened.thresholds(), opened.emotions))["average"][
            "macro_f1"
        ]
    )
    average = {"macro_f1": 0.25, "accuracy": 0.5, "weighted_f1": 0.5, "uar": 0.5}
    valid = {"share": 0.5, "f1": 0.75}
    point = {"task": "single_label", "average": average, "valid": valid, "share": 0.5}
    point |= {"budget": 0.5, "kind": "uniform", "p": [0.5, 0.5, 0.5]}
    (_, line) = budget_lines({"run": "run", "split": "test", "points": [point]})
    assert "MF1  25.0" in line
    assert "MF1  75.0" in line
