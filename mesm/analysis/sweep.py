"""The p-curve: what a trained MESM scores, computes and costs in time at each p (Figure 5)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from mesm.analysis.costs import FlopTally, SiteTally, Stopwatch
from mesm.config.p import p_text, uniform_p
from mesm.evaluation.metrics import SHORT_NAMES, overall_columns
from mesm.evaluation.run import Run
from mesm.models import FE2E, MESM
from mesm.plots.p_curve import draw_p_curve
from mesm.plots.style import save_png
from mesm.runs.documents import Sweep
from mesm.runs.environment import describe
from mesm.runs.files import one_at_a_time, read_json
from mesm.runs.folder import RunFolder
from mesm.training.norms import count_norms, drawn_batches

MOST_VALUES = 200
RETRAINED = "retrain.json"


def parse_p_values(text: str) -> list[float]:
    """Read "first:last:step" (both ends included) or values with commas.

    Returns:
        Ascending values without repeats.

    Raises:
        ValueError: not such a text, or a value outside (0, 1].
    """
    wanted = f"p must be first:last:step or values with commas, each in (0, 1], got {text!r}"
    try:
        if ":" in text:
            first, last, step = (Decimal(part) for part in text.split(":"))
            if not (step > 0 and first <= last and (last - first) / step < MOST_VALUES):
                raise ValueError(wanted)
            # Decimal: 0.1 + 0.1 + 0.1 is 0.3 here.
            count = int((last - first) / step) + 1
            values = [float(first + place * step) for place in range(count)]
        else:
            values = [float(Decimal(part)) for part in text.split(",")]
    except (InvalidOperation, ValueError) as error:
        raise ValueError(wanted) from error
    return check_p_values(values)


def check_p_values(values: Sequence[float]) -> list[float]:
    """Ascending and without repeats; ValueError if there is none or one outside (0, 1]."""
    if not values:
        raise ValueError("p: wanted at least one value, got none")
    for value in values:
        if not (math.isfinite(value) and 0 < value <= 1):
            raise ValueError(f"p must be in (0, 1], got {value}")
    return sorted(set(values))


@one_at_a_time("sweep.json", "sweeping into")
def sweep(
    run: Path,
    p_values: Sequence[float],
    baseline: Path | None = None,
    split: str = "test",
    *,
    batch_size: int = 8,
    repeats: int = 5,
    norm_clips: int = 0,
    corpus: Path | None = None,
) -> dict[str, Any]:
    """Measure one trained MESM at several p, beside an FE2E run.

    One training, other p at test time: the weights are those of the run. Where the run tunes its
    thresholds, they are tuned anew on the validation split at every p. A run whose p differs from
    block to block gets a point of its own ("own_point").

    Args:
        run: folder of a MESM run.
        p_values: each in (0, 1].
        baseline: folder of an FE2E run on the same corpus, or None.
        split: which split is scored.
        batch_size: clips per batch, also in the latency.
        repeats: timed passes per p; the median counts.
        norm_clips: at every p but the run's own, count the batch norms' statistics again on so
            many training clips (`mesm.training.norms`); 0: they stay as trained.
        corpus: where the corpus of both runs lies; None: where each finds its own.

    Returns:
        The content of RUN/sweep.json; RUN/sweep.png shows it, beside the measurements of
        `mesm.analysis.retrain` if there are any.

    Raises:
        ValueError: bad p, not a MESM run, a baseline that is not FE2E or of another corpus.
    """
    values = check_p_values(p_values)
    if batch_size < 1 or repeats < 1 or norm_clips < 0:
        raise ValueError(
            "sweep: wanted at least 1 clip per batch, 1 timed pass and no negative number of clips "
            f"for the norms, got {batch_size}, {repeats} and {norm_clips}"
        )
    opened = Run.open_sparse(run, corpus=corpus)
    of_each_p = retrained(run, split)
    dense = None if baseline is None else load_baseline(baseline, opened, corpus)
    dense_name = None if baseline is None else baseline.name
    points = []
    own = opened.p if uniform_p(opened.p) is None else None
    own_point = None
    total = len(values) + (dense is not None) + (own is not None)
    with tqdm(total=total, desc="sweep", unit="point") as bar:
        base = None
        if dense is not None:
            bar.set_postfix_str("FE2E")
            base = {"run": dense_name} | measure(dense, split, batch_size)
            bar.update()
        for p in values:
            bar.set_postfix_str(f"p={p:g}")
            opened.sparse.set_p(p)
            with _norms(opened, 0 if p == opened.p else norm_clips):
                points.append({"p": p} | measure(opened, split, batch_size))
            bar.update()
        if own is not None:
            bar.set_postfix_str(f"p={p_text(own)}")
            opened.sparse.set_p(own)
            own_point = {"p": own} | measure(opened, split, batch_size)
            bar.update()
    timed = [*points, own_point] if own_point is not None else points
    add_latency(opened, timed, dense, base, split, batch_size, repeats)
    result = {
        "run": run.name,
        "corpus": opened.manifest.corpus,
        "split": split,
        "clips": points[0]["clips"],
        "trained_p": opened.p,
        "seed": opened.seed,
        "metric": opened.accuracy_name,
        **({"norm_clips": norm_clips} if norm_clips else {}),
        "conventions": {
            "flops": "forward pass of the per-frame networks, attention included; 2 per "
            "multiply-accumulate",
            "latency": "median of the repeats; eval, inference mode; milliseconds per clip",
            "active_sites": "kept sites over all sites of the block's maps, mean over frames",
        },
        "latency_setting": latency_setting(opened, min(batch_size, points[0]["clips"]), repeats),
        "points": points,
        "own_point": own_point,
        "baseline": base,
        "environment": describe(),
    }
    folder = RunFolder(run)
    save_png(draw_p_curve(result, of_each_p), run / "sweep.png")
    folder.write_json(run / "sweep.json", result)
    return result


@contextmanager
def _norms(run: Run, clips: int) -> Iterator[None]:
    """The batch norms' statistics of a run's present p, from training clips; put back in the end.

    With 0 clips they stay as they are.
    """
    if clips == 0:
        yield
        return
    state = {name: buffer.clone() for name, buffer in run.model.named_buffers()}
    size = run.config.training.batch_size
    count_norms(
        run.model, drawn_batches(run.dataset("train"), run.collate, size, clips, run.device)
    )
    try:
        yield
    finally:
        for name, buffer in run.model.named_buffers():
            buffer.copy_(state[name])


def sweep_lines(result: dict[str, Any]) -> list[str]:
    """The points of `sweep`, or of `mesm.analysis.retrain`, as a table for the terminal."""
    columns = overall_columns(result["points"][0], result["metric"])
    own, baseline = result.get("own_point"), result.get("baseline")
    points = [(p_text(point["p"]), point) for point in result["points"]]
    points += [(p_text(own["p"]), own)] if own else []
    points += [(f"FE2E, {baseline['run']}", baseline)] if baseline else []
    blocks = list(result["points"][0]["active_sites"])
    wide = max(8, *(len(name) for name, _ in points))
    heads = "".join(f"{SHORT_NAMES[column]:>6}" for column in columns)
    heads += f"{'GFLOP/clip':>12}{'ms/clip':>9}"
    sites = "".join(f"{f'{name} sites, %':>18}" for name in blocks)
    points_are = result["conventions"].get("points", "one training")
    lines = [f"{result['run']}: {result['split']} split, {result['clips']} clips; {points_are}"]
    lines.append(f"{'p':<{wide}}{heads}{sites}")
    for name, point in points:
        scores, active = point["average"], point.get("active_sites", {})
        shares = (
            " / ".join(f"{100 * share:.0f}" for share in active.get(block, ())) for block in blocks
        )
        lines.append(
            f"{name:<{wide}}"
            + "".join(f"{100 * scores[column]:>6.1f}" for column in columns)
            + f"{point['flops_per_clip']['total'] / 1e9:>12.4g}"
            f"{point['latency_ms_per_clip']['model']:>9.4g}"
            + "".join(f"{share or '–':>18}" for share in shares)
        )
    return lines


def retrained(run: Path, split: str) -> dict[str, Any] | None:
    """The measurements of `mesm.analysis.retrain` on this split; None: there are none."""
    found: dict[str, Any] | None = read_json(run / RETRAINED, Sweep)
    return found if found is not None and found["split"] == split else None


def load_baseline(path: Path, beside: Run, corpus: Path | None = None) -> Run:
    """An FE2E run on the corpus of another run.

    Args:
        path: its folder.
        beside: the other run.
        corpus: where the corpus lies; None: where the run finds it.

    Raises:
        ValueError: not an FE2E run, or of another corpus or task.
    """
    opened = Run.open(path, corpus=corpus)
    if not isinstance(opened.model, FE2E):
        name = type(opened.model).__name__
        raise ValueError(f"{path}: wanted an FE2E run as the baseline, got a {name} run")
    one, two = opened.manifest, beside.manifest
    if (one.corpus, one.emotions) != (two.corpus, two.emotions):
        raise ValueError(
            f"{path}: the baseline was trained on {one.corpus} ({', '.join(one.emotions)}), the "
            f"MESM run on {two.corpus} ({', '.join(two.emotions)})"
        )
    if opened.fold != beside.fold:
        raise ValueError(
            f"{path}: the baseline and {beside.path} are tested on other folds; name an FE2E run "
            "of the same one"
        )
    if opened.task is not beside.task:
        raise ValueError(
            f"{path}: the baseline has another task, {opened.task.title}, than the MESM run, "
            f"{beside.task.title} (training.loss): their scores cannot stand beside each other"
        )
    return opened


def measure(run: Run, split: str, batch_size: int) -> dict[str, Any]:
    """Scores, FLOPs and, for a MESM, active sites; all over the whole split, as the model is."""
    model, settings = run.model, run.config.evaluation
    flops, sites = FlopTally(), SiteTally()
    logits, labels = [], []
    for batch in run.batches(split, batch_size):
        logits.append(flops.count(model, batch).float().cpu())
        labels.append(batch.labels.cpu())
        if isinstance(model, MESM):
            sites.count(model, batch)
    decider = run.task.decider(settings.threshold, len(run.emotions), lambda: run.predict("valid"))
    scores = run.task.score(
        *(torch.cat(logits), torch.cat(labels), decider, run.emotions, settings.f1)
    )
    measured = scores | {"flops_per_clip": flops.per_clip(scores["clips"])}
    if isinstance(model, MESM):
        measured["active_sites"] = sites.mean()
    return measured


def latency_setting(run: Run, batch_size: int, repeats: int) -> dict[str, Any]:
    """How `add_latency` measures: threads, dtype, device, clips per batch, passes."""
    parameter = next(run.model.parameters())
    return {
        "threads": torch.get_num_threads(),
        "dtype": str(parameter.dtype).removeprefix("torch."),
        "device": parameter.device.type,
        "batch_size": batch_size,
        "repeats": repeats,
    }


def add_latency(
    run: Run,
    points: Sequence[dict[str, Any]],
    dense: Run | None,
    base: dict[str, Any] | None,
    split: str,
    batch_size: int,
    repeats: int,
) -> None:
    """Time all points in turns, so that a busy moment of the machine falls on all alike.

    Each point, and `base` if there is a dense run, gets its "latency_ms_per_clip".
    """
    watches = [Stopwatch() for _ in points]
    dense_watch = Stopwatch()
    batch = next(run.batches(split, batch_size))
    dense_batch = next(dense.batches(split, batch_size)) if dense else batch
    for _ in tqdm(range(repeats), desc="latency", unit="round"):
        if dense is not None:
            dense_watch.time(dense.model, dense_batch)
        for point, watch in zip(points, watches, strict=True):
            run.sparse.set_p(point["p"])
            watch.time(run.sparse, batch)
    run.sparse.set_p(run.p)
    for point, watch in zip(points, watches, strict=True):
        point["latency_ms_per_clip"] = watch.medians()
    if base is not None:
        base["latency_ms_per_clip"] = dense_watch.medians()
