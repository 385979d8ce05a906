"""Points over seeds, against FE2E, and of every kind of file."""

from pathlib import Path
from typing import Any

import pytest

from mesm.tables.sweeps import sweep_tables
from tests.mesm.tables.cases import Make, texts


def point(p: Any, f1: float, flops: float, ms: float, **facts: Any) -> dict[str, Any]:
    return {
        "p": p,
        "threshold": {"policy": "tuned on validation F1"},
        "average": {"accuracy": 0.8, "weighted_accuracy": 0.7, "f1": f1},
        "flops_per_clip": {"total": flops},
        "latency_ms_per_clip": {"model": ms},
    } | facts


def sweep(*points: dict[str, Any], dense: bool = True, **facts: Any) -> dict[str, Any]:
    setting = {"repeats": 5, "batch_size": 8, "device": "cpu", "threads": 1, "dtype": "float32"}
    return {
        "corpus": "iemocap",
        "split": "test",
        "clips": 4,
        "seed": 0,
        "metric": "accuracy",
        "latency_setting": setting,
        "points": list(points),
        "baseline": point(None, 0.7, 8e9, 20.0, run="fe2e") if dense else None,
    } | facts


def mesm(p: Any = 0.5) -> dict[str, Any]:
    return {"name": "mesm", "p": p}


def test_points_are_averaged_over_the_seeds(make_corpus: Make, make_run: Make) -> None:
    corpus = make_corpus(synthetic=True)
    for seed, gain in enumerate((0.0, 0.2)):
        content = sweep(point(0.3, 0.4 + gain, 2e9, 10.0), point(1.0, 0.6 + gain, 6e9, 40.0))
        make_run(f"m{seed}", corpus, mesm(), seed, files={"sweep.json": content})
    (table,) = sweep_tables([corpus.parent / "runs"])
    # 0.2 apart: deviation 0.2 / root 2.
    assert texts(table) == [
        [
            *("FE2E, beside MESM (p = 0.5)", "", "2", "80.0 ± 0.0", "70.0 ± 0.0"),
            *("8.000 ± 0.000", "100.0 ± 0.0", "20.0 ± 0.0", "1.00 ± 0.00"),
        ],
        [
            *("MESM (p = 0.5): one training", "0.3", "2", "80.0 ± 0.0", "50.0 ± 14.1"),
            *("2.000 ± 0.000", "25.0 ± 0.0", "10.0 ± 0.0", "2.00 ± 0.00"),
        ],
        [
            *("MESM (p = 0.5): one training", "1", "2", "80.0 ± 0.0", "70.0 ± 14.1"),
            *("6.000 ± 0.000", "75.0 ± 0.0", "40.0 ± 0.0", "0.50 ± 0.00"),
        ],
    ]
    for text in (
        "synthetic miniature corpus",
        "tuned on validation F1, anew at every p.",
        "median of 5 forward passes over 8 clips at once, cpu, 1 thread, float32.",
    ):
        assert text in table.caption
    assert [one["seed"] for one in table.provenance["files"]] == [0, 1]


def test_a_training_per_p_borrows_the_flops_of_fe2e_but_not_its_latency(
    make_corpus: Make, make_run: Make
) -> None:
    files = {
        "sweep.json": sweep(point(0.5, 0.5, 4e9, 10.0)),
        "retrain.json": sweep(point(0.5, 0.6, 2e9, 10.0), dense=False),
    }
    run = make_run("m", make_corpus(), mesm(), files=files)
    (table,) = sweep_tables([run])
    last = texts(table)[-1]
    assert last[0] == "MESM (p = 0.5): a training per p"
    assert last[4:] == ["60.0", "2.000", "25.0", "10.0", "–"]


def test_budgets_keep_uniform_and_per_block_p_apart(make_corpus: Make, make_run: Make) -> None:
    blocks = {"budget": 0.5, "kind": "per block", "share": 0.502}
    content = sweep(
        point([0.6, 0.6, 0.6], 0.5, 4e9, 9.0, budget=0.5, kind="uniform", share=0.498),
        point([0.7, 0.5, 0.4], 0.6, 4e9, 9.0, **blocks),
        dense=False,
    )
    del content["latency_setting"]
    run = make_run("m", make_corpus(), mesm(), files={"budget.json": content})
    (table,) = sweep_tables([run])
    assert [(cells[1], cells[6]) for cells in texts(table)] == [
        ("budget 0.5, uniform (0.6)", "49.8"),
        ("budget 0.5, per block (0.7/0.5/0.4)", "50.2"),
    ]
    assert table.rows[1].cells[1].value["p"] == [[0.7, 0.5, 0.4]]
    assert "Latency: in a way that is not recorded (one training, FLOP budget)." in table.notes


def test_a_runs_own_p_per_block_is_a_point_too(make_corpus: Make, make_run: Make) -> None:
    own = point([0.7, 0.5, 0.5], 0.5, 3e9, 9.0)
    content = sweep(point(0.5, 0.5, 2e9, 9.0), own_point=own)
    run = make_run("m", make_corpus(), mesm([0.7, 0.5, 0.5]), files={"sweep.json": content})
    (table,) = sweep_tables([run])
    assert [cells[1] for cells in texts(table)] == ["", "0.5", "0.7/0.5/0.5"]


def test_corpora_are_never_mixed(make_corpus: Make, make_run: Make) -> None:
    content = {"sweep.json": sweep(point(0.5, 0.5, 2e9, 9.0))}
    first = make_corpus("first")
    make_run("a", first, mesm(), files=content)
    other = make_corpus("other", data=b"other")
    make_run("b", other, mesm(), 1, files=content)
    tables = sweep_tables([first.parent / "runs"])
    assert [table.name for table in tables] == ["sweep_iemocap_test_1", "sweep_iemocap_test_2"]
    assert [len(table.rows) for table in tables] == [2, 2]


def test_two_ways_of_timing_are_said_not_to_compare(make_corpus: Make, make_run: Make) -> None:
    corpus = make_corpus()
    for seed in (0, 1):
        content = sweep(point(0.5, 0.5, 2e9, 9.0))
        content["latency_setting"]["threads"] = seed + 1
        make_run(f"m{seed}", corpus, mesm(), seed, files={"sweep.json": content})
    (table,) = sweep_tables([corpus.parent / "runs"])
    assert "1 thread, float32; or median" in table.caption
    assert "do not compare" in table.caption


def test_refusals(tmp_path: Path, make_corpus: Make, make_run: Make) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        sweep_tables([tmp_path / "none"])
    with pytest.raises(ValueError, match="`mesm sweep RUN` makes one"):
        sweep_tables([tmp_path])
    run = make_run("m", make_corpus(), mesm(), files={"sweep.json": {"points": []}})
    with pytest.raises(ValueError, match=r"sweep.json: damaged, at corpus: field required"):
        sweep_tables([run])


def test_one_emotion_a_clip_is_apart_and_has_its_metrics(make_corpus: Make, make_run: Make) -> None:
    corpus = make_corpus(synthetic=True)
    average = {"accuracy": 0.8, "weighted_f1": 0.6, "macro_f1": 0.5, "uar": 0.4}
    kind = {"task": "single_label", "threshold": {"policy": "argmax"}, "average": average}
    one = sweep(point(0.3, 0.4, 2e9, 10.0, **kind), baseline=None)
    make_run("one", corpus, mesm(), 0, files={"sweep.json": one})
    make_run("several", corpus, mesm(), 1, files={"sweep.json": sweep(point(0.3, 0.4, 2e9, 10.0))})
    first, second = sweep_tables([corpus.parent / "runs"])
    assert first.head[3:7] == ("Acc", "UAR", "WF1", "MF1")
    assert texts(first)[0][3:7] == ["80.0", "40.0", "60.0", "50.0"]
    assert "there are no thresholds" in first.caption
    assert second.head[3:5] == ("Acc", "F1")
