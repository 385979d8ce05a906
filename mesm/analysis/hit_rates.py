"""How often kept sites lie where something was planted, against chance.

Over frames f with planted regions, k_f kept sites of which h_f overlap a region, and c_f the share
of all the frame's sites that overlap one:

    hit = Σ h_f / Σ k_f,   chance = Σ k_f c_f / Σ k_f,   ratio = hit / chance

so chance is what as many sites, drawn uniformly in each frame, would hit on average. Intervals are
95 % percentile intervals of a bootstrap over clips (the frames of a clip are not independent).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

RESAMPLES = 2000

# name in the summary: (what was hit, what chance would hit, out of how much)
RATES = {
    "sites": ("hits", "chance_hits", "kept"),
    "among_candidates": ("hits", "candidate_hits", "kept"),
    "by_area": ("area", "chance_area", "kept"),
    "by_attention_mass": ("mass", "chance", "frames"),
    "by_attention_mass_among_candidates": ("mass", "candidate_chance", "frames"),
    "other_clips_sites": ("hits", "habit_hits", "kept"),
}


@dataclass
class Tally:
    """Sums over the frames of one block, kept per clip so that clips can be resampled."""

    sums: dict[str, Counter[str]] = field(default_factory=dict)
    masks: dict[str, list[tuple[Mask, Mask]]] = field(default_factory=dict)

    def add(
        self,
        clip_id: str,
        kept: Mask,
        covered: NDArray[np.float64],
        candidates: Mask | None = None,
        attention: NDArray[np.floating[Any]] | None = None,
        real: Mask | None = None,
    ) -> None:
        """Count one frame; a frame with nothing planted in it is left out.

        Args:
            clip_id: whose frame it is.
            kept: (h, w) sites kept.
            covered: (h, w) share of each cell's area that is planted; more than 0 overlaps.
            candidates: (h, w) sites there were to choose from.
            attention: (h, w) softmax over the candidates.
            real: (h, w) cells that are input and not padding; chance is drawn from these.
        """
        real = np.ones_like(kept) if real is None else real
        planted = (covered > 0) & real
        if not planted.any() or not kept.any():
            return
        count = float(kept.sum())
        chance = float(planted.sum() / real.sum())
        frame = {
            "frames": 1.0,
            "kept": count,
            "hits": float((kept & planted).sum()),
            "chance": chance,
            "chance_hits": count * chance,
            "area": float(covered[kept & real].sum()),
            "chance_area": count * float(covered[real].mean()),
        }
        if candidates is not None:
            frame["candidate_chance"] = float((candidates & planted).sum() / candidates.sum())
            frame["candidate_hits"] = count * frame["candidate_chance"]
        if attention is not None:
            frame["mass"] = float(attention[planted].sum())
        clip = self.sums.setdefault(clip_id, Counter())
        for name, value in frame.items():
            clip[name] += value  # type: ignore[assignment]
        self.masks.setdefault(clip_id, []).append((kept, planted))

    def summary(self, seed: int = 0) -> dict[str, Any]:
        """Hit rates, chances, ratios and intervals, ready for JSON.

        The rates are named in `RATES`; one whose inputs were not given is absent.
        """
        clips = list(self.sums.values())
        counts: dict[str, Any] = {
            "clips": len(clips),
            "frames": int(sum(clip["frames"] for clip in clips)),
            "kept_sites": int(sum(clip["kept"] for clip in clips)),
        }
        if not clips:
            return counts
        columns = {
            name: np.array([clip[name] for clip in clips], dtype=np.float64)
            for name in set().union(*clips)
        }
        habit = self._habit()
        if habit is not None:
            columns["habit_hits"] = habit
        generator = np.random.default_rng(seed)
        share = np.full(len(clips), 1 / len(clips))
        draws = generator.multinomial(len(clips), share, size=RESAMPLES).astype(np.float64)
        for rate, names in RATES.items():
            if all(name in columns for name in names):
                hits, expected, over = (columns[name] for name in names)
                counts[rate] = _rate(hits, expected, over, draws)
        return counts

    def _habit(self) -> NDArray[np.float64] | None:
        """Per clip, the hits expected of the average mask of all other clips.

        It tells an attention that looks at these frames from one that looks at the usual places.
        """
        if len(self.masks) < 2:
            return None
        masks = {
            clip: np.sum([kept for kept, _ in pairs], axis=0, dtype=np.float64)
            for clip, pairs in self.masks.items()
        }
        everything = np.sum(list(masks.values()), axis=0)
        hits = []
        for clip, pairs in self.masks.items():
            others = everything - masks[clip]
            others /= others.sum()
            hits.append(sum(float(kept.sum() * others[planted].sum()) for kept, planted in pairs))
        return np.array(hits)


def _rate(
    hits: NDArray[np.float64],
    expected: NDArray[np.float64],
    over: NDArray[np.float64],
    draws: NDArray[np.float64],
) -> dict[str, Any]:
    ratios = (draws @ hits) / np.maximum(draws @ expected, 1e-12)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return {
        "hit": float(hits.sum() / over.sum()),
        "chance": float(expected.sum() / over.sum()),
        "ratio": float(hits.sum() / max(expected.sum(), 1e-12)),
        "interval": [float(low), float(high)],
    }
