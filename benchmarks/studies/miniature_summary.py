"""The rows of the miniature study summed up, and which of its goals they reach."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

FE2E, MESM = "fe2e", "mesm"
HARD = "mesm selection=hard attention_learning_rate_factor=1.0"


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (None for one value), and the values themselves."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "deviation": deviation, "values": list(values)}


def summarise(rows: Iterable[Row]) -> dict[str, Any]:
    """Every row over its corpora and seeds, and the goals.

    Args:
        rows: of `miniature_study.measure_run`, with their corpus_seed.

    Returns:
        "rows": per row runs, f1, branches, ece and epoch_seconds as `spread` gives them; of a MESM
        also above_fe2e (against the FE2E of the same corpus and seed), flops and blocks (shares of
        FE2E's) and attention (per modality blocks 1 to 3 and all of them). "goals": of MESM as it
        is shipped and with the paper's selection, see `goals`.
    """
    named: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["corpus_seed"], row["seed"])):
        named.setdefault(row["row"], []).append(row)
    return {
        "rows": {name: _cell(found, named.get(FE2E, [])) for name, found in named.items()},
        "goals": {name: goals(named, name) for name in (MESM, HARD) if name in named},
    }


def _cell(rows: Sequence[Row], dense: Sequence[Row]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "system": rows[0]["system"],
        "groups": list(rows[0]["groups"]),
        "runs": [[row["corpus_seed"], row["seed"]] for row in rows],
        "f1": spread([row["f1"] for row in rows]),
        "branches": {
            name: spread([row["branches"][name] for row in rows]) for name in rows[0]["branches"]
        },
        "ece": spread([row["ece"] for row in rows]),
        "epoch_seconds": spread([row["epoch_seconds"] for row in rows]),
    }
    if rows[0]["system"] == "mesm":
        pairs = _pairs(rows, dense)
        found |= {
            "above_fe2e": spread([row["f1"] - other["f1"] for row, other in pairs]),
            "flops": spread([row["flops"]["mesm"] / row["flops"]["fe2e"] for row in rows]),
            "blocks": spread(
                [row["flops"]["mesm_blocks"] / row["flops"]["fe2e_blocks"] for row in rows]
            ),
            "active_sites": {
                name: [
                    statistics.fmean(row["active_sites"][name][block] for row in rows)
                    for block in range(3)
                ]
                for name in rows[0]["active_sites"]
            },
            "attention": {
                name: [
                    spread([row["attention"][name][place] for row in rows]) for place in range(4)
                ]
                for name in rows[0]["attention"]
            },
        }
    return found


def _pairs(rows: Sequence[Row], dense: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Each run with the FE2E of its corpus and seed."""
    known = {(row["corpus_seed"], row["seed"]): row for row in dense}
    return [(row, known[row["corpus_seed"], row["seed"]]) for row in rows]


def goals(named: Mapping[str, Sequence[Row]], of: str = MESM) -> dict[str, dict[str, Any]]:
    """Which goals are reached; a goal whose runs are not there is left out.

    Args:
        named: the runs of each row.
        of: the row whose goals they are. Models trained for other p are known of `MESM` alone.

    Returns:
        Per goal "measured" (what was compared with the bound) and "reached".
    """
    dense, ours = (list(named.get(name, [])) for name in (FE2E, of))
    sparser = list(named.get(f"{of} p=0.3", []))
    found: dict[str, dict[str, Any]] = {}

    def goal(name: str, measured: float, reached: bool) -> None:
        found[name] = {"measured": measured, "reached": reached}

    if ours and dense:
        pairs = _pairs(ours, dense)
        above = [row["f1"] - other["f1"] for row, other in pairs]
        goal("mean_not_below_fe2e", statistics.fmean(above), statistics.fmean(above) >= 0)
        worst = min(_by_corpus(pairs, lambda row, other: row["f1"] - other["f1"]))
        goal("no_corpus_a_point_below", worst, worst >= -0.01)
        for branch in ("audio", "face"):
            gap = statistics.fmean(
                row["branches"][branch] - other["branches"][branch] for row, other in pairs
            )
            goal(f"{branch}_branch_within_2_points", gap, gap >= -0.02)
        flops = statistics.fmean(row["flops"]["mesm"] / row["flops"]["fe2e"] for row in ours)
        goal("at_most_40_percent_of_the_flops", flops, flops <= 0.4)
        blocks = statistics.fmean(
            row["flops"]["mesm_blocks"] / row["flops"]["fe2e_blocks"] for row in ours
        )
        goal("at_most_12_percent_of_the_blocks_flops", blocks, blocks <= 0.12)
        faces = statistics.fmean(row["attention"]["face"][3] for row in ours)
        goal("faces_3_times_chance", faces, faces >= 3)
        sound = min(row["attention"]["audio"][3] for row in ours)
        goal("sound_1.5_times_chance_in_every_run", sound, sound >= 1.5)
        block = min(min(row["attention"]["audio"][:3]) for row in ours)
        goal("every_block_of_sound_above_chance_in_every_run", block, block > 1)
    if sparser and dense:
        gap = statistics.fmean(row["f1"] - other["f1"] for row, other in _pairs(sparser, dense))
        goal("p_0.3_within_2_points", gap, gap >= -0.02)
    curve = _curve_gaps(named) if of == MESM else []
    if curve:
        goal("one_model_for_all_p_within_2_points", min(curve), min(curve) >= -0.02)
    return found


def _by_corpus(
    pairs: Sequence[tuple[Row, Row]], measure: Callable[[Row, Row], float]
) -> list[float]:
    """The mean of a measure over the pairs of each corpus."""
    found: dict[int, list[float]] = {}
    for row, other in pairs:
        found.setdefault(row["corpus_seed"], []).append(measure(row, other))
    return [statistics.fmean(values) for values in found.values()]


def _curve_gaps(named: Mapping[str, Sequence[Row]]) -> list[float]:
    """Per p, mean F1 of the one model at that p above that of the models trained for it."""
    gaps = []
    for name, rows in named.items():
        if not name.startswith(f"{MESM} p=") or "p_curve" not in rows[0]["groups"]:
            continue
        p = rows[0]["settings"]["model"]["p"]
        trained = {(row["corpus_seed"], row["seed"]): row["f1"] for row in rows}
        swept = [
            point["f1"] - trained[row["corpus_seed"], row["seed"]]
            for row in named.get(MESM, [])
            if (row["corpus_seed"], row["seed"]) in trained
            for point in row["p_curve"]
            if point["p"] == p
        ]
        if swept:
            gaps.append(statistics.fmean(swept))
    return gaps
