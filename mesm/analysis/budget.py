"""p per block under a FLOP budget: the best on validation that computes the wanted share.

The share is that of the dense feature extraction: FE2E's extractors of the same widths over the
same frames. MESM's FLOPs are measured, attention and query included; 2 per multiply-accumulate.

For offsets w of the three blocks, p = t + w, cut to [LEAST_P, 1], computes more with every t, so
there is a t that meets the budget. The search walks over w, one block and one step at a time, keeps
what is better on the validation split (average F1; of equal ones, the lower cross-entropy), and
meets the budget anew at each place. w = 0 is the uniform p that stands beside the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from mesm.analysis.costs import FlopTally, dense_flops_per_frame
from mesm.analysis.sweep import add_latency, latency_setting, load_baseline, measure
from mesm.config.p import BLOCKS, p_text
from mesm.data.batch import Batch
from mesm.evaluation.metrics import SHORT_NAMES
from mesm.evaluation.run import Run
from mesm.evaluation.task import MULTI_LABEL
from mesm.runs.environment import describe
from mesm.runs.files import one_at_a_time
from mesm.runs.folder import RunFolder
from mesm.runs.scores import is_single_label
from mesm.training.losses import CRITERIA

# Keeps one site of a frame, unless others are just as attended.
LEAST_P = 1e-6
# How far the measured share may be from the wanted one; half the percentage point promised.
TOLERANCE = 0.005
STEPS = (0.3, 0.15, 0.05)
MOST_TRIES = 40

Blocks = tuple[float, ...]


def parse_budgets(text: str) -> list[float]:
    """Read "0.5" or several shares with commas.

    Returns:
        Ascending shares without repeats.

    Raises:
        ValueError: not such a text, or a share that is not above 0.
    """
    wanted = f"budget must be shares of the dense FLOPs with commas, each above 0, got {text!r}"
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(wanted) from error
    if not all(math.isfinite(share) and share > 0 for share in shares):
        raise ValueError(wanted)
    return sorted(set(shares))


@dataclass(frozen=True)
class Trial:
    """The FLOPs of one p per block, and the validation scores that this p reaches.

    Attributes:
        p: per block.
        share: FLOPs over the dense ones.
        f1: average F1; of one emotion a clip the macro F1.
        loss: the task's cross-entropy, unweighted.
    """

    p: Blocks
    share: float
    f1: float
    loss: float

    @property
    def merit(self) -> tuple[float, float]:
        """Larger is better."""
        return self.f1, -self.loss


class Search:
    """The search on one trained model; nothing is measured twice.

    Args:
        run: a MESM's; its model is left at the p that was tried last.
        batches: the validation split.
    """

    def __init__(self, run: Run, batches: Sequence[Batch]) -> None:
        self.model, self.run, self.batches = run.sparse, run, batches
        self.dense = dense_flops(run, batches)
        self.trials: dict[Blocks, Trial] = {}

    def reach(self) -> tuple[Trial, Trial]:
        """The least and the most that can be computed."""
        return self.measure((LEAST_P,) * BLOCKS), self.measure((1.0,) * BLOCKS)

    def measure(self, p: Blocks) -> Trial:
        """Run the validation split at a p per block."""
        if p in self.trials:
            return self.trials[p]
        self.model.set_p(list(p))
        tally = FlopTally()
        logits = torch.cat([tally.count(self.model, batch).float().cpu() for batch in self.batches])
        labels = torch.cat([batch.labels.cpu() for batch in self.batches])
        asked = self.run.config.evaluation
        emotions = self.run.emotions
        task = self.run.task
        decider = task.decider(asked.threshold, len(emotions), lambda: (logits, labels))
        scores = task.score(logits, labels, decider, emotions, asked.f1)
        trial = Trial(
            p,
            tally.per_clip(1)["total"] / self.dense,
            scores["average"][task.f1],
            float(CRITERIA[task.loss].cross_entropy(logits.double(), labels.double())),
        )
        self.trials[p] = trial
        return trial

    def meet(self, offsets: Blocks, share: float, start: float) -> tuple[Trial, float] | None:
        """The trial with these offsets that computes the share, and its t; None if none does.

        False position between the ends of what is reachable, beginning at `start`; a guess that
        did not halve the bracket is followed by its middle.
        """
        least, most = self.reach()
        low, high = LEAST_P - max(offsets), 1 - min(offsets)
        under, over = least.share - share, most.share - share
        guess = start
        for _ in range(MOST_TRIES):
            t = _between(guess, low, high)
            trial = self.measure(_blocks(t, offsets))
            off = trial.share - share
            if abs(off) <= TOLERANCE:
                return trial, t
            width = high - low
            if off < 0:
                low, under = t, off
            else:
                high, over = t, off
            if high - low < LEAST_P:
                return None
            if high - low > width / 2 or over <= under:
                guess = (low + high) / 2
            else:
                guess = low - under * (high - low) / (over - under)
        return None

    def best(self, share: float, bar: tqdm[Any]) -> tuple[Trial, Trial]:
        """The uniform p and the best p per block that compute a share.

        Raises:
            ValueError: no p computes it; names the reachable ones.
        """
        least, most = self.reach()
        if not least.share <= share <= most.share:
            raise ValueError(
                f"budget {share:g}: MESM computes {least.share:.3f} of the dense FLOPs at "
                f"p = {LEAST_P:g} (its first stage is dense) and {most.share:.3f} at p = 1; "
                "choose a share between them"
            )
        offsets = (0.0,) * BLOCKS
        start = (share - least.share) / max(most.share - least.share, TOLERANCE)
        met = self.meet(offsets, share, start)
        bar.update()
        if met is None:
            raise ValueError(
                f"budget {share:g}: no p computes it within {100 * TOLERANCE:g} percentage points; "
                "the attention is so sharp that neighbouring p keep very different shares"
            )
        uniform, t = met
        best = uniform
        seen = {_shape(offsets)}
        for step in STEPS:
            for block in range(BLOCKS):
                here = offsets
                for change in (step, -step):
                    changed = tuple(w + change * (i == block) for i, w in enumerate(here))
                    if _shape(changed) not in seen:
                        seen.add(_shape(changed))
                        # The other blocks move against the changed block: the guess is near.
                        met = self.meet(changed, share, t - change / BLOCKS)
                        if met is not None and met[0].merit > best.merit:
                            best, t = met
                            offsets = changed
                    bar.set_postfix_str(f"{share:g}: p={p_text(list(best.p))}, {self.passes}")
                    bar.update()
        return uniform, best

    @property
    def passes(self) -> str:
        """How often the validation split was run."""
        return f"{len(self.trials)} passes"


def _between(guess: float, low: float, high: float) -> float:
    """The guess inside the bracket, with four decimals where these are inside too."""
    if not low < guess < high:
        guess = (low + high) / 2
    short = round(guess, 4)
    return short if low < short < high else guess


def _shape(offsets: Blocks) -> Blocks:
    """Equal for offsets that differ by the same number in every block: t makes up for it."""
    return tuple(round(w - min(offsets), 6) for w in offsets)


def _blocks(t: float, offsets: Blocks) -> Blocks:
    return tuple(round(min(max(t + w, LEAST_P), 1.0), 6) for w in offsets)


def dense_flops(run: Run, batches: Sequence[Batch]) -> float:
    """FLOPs of FE2E's extractors of the run's widths over all frames of the batches.

    Raises:
        ValueError: there are none, as the model looks at no frames, or the clips have none.
    """
    frames = {
        "face": sum(len(batch.faces) for batch in batches),
        "audio": sum(len(batch.spectrograms) for batch in batches),
    }
    per_frame = dense_flops_per_frame(run.sparse)
    total = sum(flops * frames[name] for name, flops in per_frame.items())
    if total == 0:
        raise ValueError(
            f"{run.path}: no faces or sound are looked at, so there are no FLOPs to budget"
        )
    return float(total)


@one_at_a_time("budget.json", "sweeping into")
def find_budget(
    run: Path,
    shares: Sequence[float],
    baseline: Path | None = None,
    split: str = "test",
    *,
    batch_size: int = 8,
    repeats: int = 5,
    corpus: Path | None = None,
) -> dict[str, Any]:
    """Find, for a trained MESM, p per block under FLOP budgets, and score it beside uniform p.

    The weights are those of the run; p is chosen on the validation split alone. The same run and
    shares give the same p.

    Args:
        run: folder of a MESM run.
        shares: of the dense feature extraction's FLOPs, each above 0.
        baseline: folder of an FE2E run on the same corpus that is scored beside, or None.
        split: which split is scored.
        batch_size: clips per batch, also in the latency.
        repeats: timed passes per point; the median counts.
        corpus: where the corpus of both runs lies; None: where each finds its own.

    Returns:
        The content of RUN/budget.json: per share the "uniform" and the "per block" point.

    Raises:
        ValueError: not a MESM run, no share, a share that no p computes, or a baseline that is not
            FE2E or of another corpus. Nothing is written.
    """
    if not shares:
        raise ValueError("budget: wanted at least one share, got none")
    if batch_size < 1 or repeats < 1:
        raise ValueError(
            f"budget: wanted at least 1 clip per batch and 1 timed pass, got {batch_size} and "
            f"{repeats}"
        )
    opened = Run.open_sparse(run, corpus=corpus)
    dense = None if baseline is None else load_baseline(baseline, opened, corpus)
    search = Search(opened, list(opened.batches("valid", batch_size)))
    found: list[tuple[float, str, Trial]] = []
    total = len(shares) * (1 + 2 * BLOCKS * len(STEPS))
    with tqdm(total=total, desc="budget", unit="trial") as bar:
        for share in shares:
            uniform, best = search.best(share, bar)
            found += [(share, "uniform", uniform), (share, "per block", best)]
    scored = list(opened.batches(split, batch_size))
    clips = sum(len(batch) for batch in scored)
    dense_per_clip = dense_flops(opened, scored) / clips
    points: list[dict[str, Any]] = []
    for share, kind, trial in tqdm(found, desc=f"budget: {split}", unit="point"):
        p = list(trial.p)
        opened.sparse.set_p(p)
        point = measure(opened, split, batch_size)
        points.append(
            {
                "budget": share,
                "kind": kind,
                "p": p,
                "valid": asdict(trial) | {"p": p},
                "share": point["flops_per_clip"]["total"] / dense_per_clip,
                **point,
            }
        )
    base = None
    if dense is not None and baseline is not None:
        base = {"run": baseline.name} | measure(dense, split, batch_size)
    add_latency(opened, points, dense, base, split, batch_size, repeats)
    least, most = search.reach()
    result = {
        "run": run.name,
        "corpus": opened.manifest.corpus,
        "split": split,
        "clips": clips,
        "trained_p": opened.p,
        "seed": opened.seed,
        "metric": opened.accuracy_name,
        "conventions": {
            "flops": "forward pass of the per-frame networks, attention and query included; 2 per "
            "multiply-accumulate",
            "share": "of the FLOPs of FE2E's extractors of the same widths over the same frames, "
            "from their shapes",
            "chosen": f"on the validation split: {_chosen_by(opened)}, of equal ones the lower "
            "cross-entropy",
            "latency": "median of the repeats; eval, inference mode; milliseconds per clip",
        },
        "dense_flops_per_clip": dense_per_clip,
        "reachable": {"least": least.share, "most": most.share, "split": "valid"},
        "tolerance": TOLERANCE,
        "latency_setting": latency_setting(opened, min(batch_size, clips), repeats),
        "points": points,
        "trials": [asdict(trial) | {"p": list(trial.p)} for trial in search.trials.values()],
        "baseline": base,
        "environment": describe(),
    }
    RunFolder(run).write_json(run / "budget.json", result)
    return result


def _chosen_by(run: Run) -> str:
    return "average F1" if run.task is MULTI_LABEL else run.task.f1_title


def budget_lines(result: dict[str, Any]) -> list[str]:
    """The points of `find_budget` as lines of text, each with the override that trains at it."""
    lines = [
        f"{result['run']}: share of the dense FLOPs (FE2E's extractors of the same widths), "
        f"{result['split']} split; p chosen on validation"
    ]
    for point in result["points"]:
        p = str(point["p"]).replace(" ", "")
        f1 = "macro_f1" if is_single_label(point) else "f1"
        lines.append(
            f"budget {point['budget']:g}, {point['kind']:<9}  {100 * point['share']:5.1f} %  "
            f"{SHORT_NAMES[f1]} {100 * point['average'][f1]:5.1f}  "
            f"validation: {100 * point['valid']['share']:5.1f} %  "
            f"{SHORT_NAMES[f1]} {100 * point['valid']['f1']:5.1f}  model.p={p}"
        )
    return lines
