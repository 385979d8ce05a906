"""A model's costs: FLOPs per modality and op, latency, active sites."""

from __future__ import annotations

import itertools
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mesm.data.batch import CHUNK_SHAPE, FACE_SHAPE, Batch
from mesm.models import MESM
from mesm.models.convolutions import DenseExtractor
from mesm.models.late_fusion import LateFusionModel

ATTENTION_OP = "cross_modal_score"


@dataclass
class FlopTally:
    """FLOPs of the feature extractors per modality and op; 2 per multiply–accumulate."""

    per_modality: dict[str, Counter[str]] = field(default_factory=dict)

    def count(self, model: nn.Module, batch: Batch) -> Tensor:
        """Run the model on a batch, add what its per-frame networks computed, return the logits.

        Blocks are not fused, which tells their attention's FLOPs from the others.

        Raises:
            ValueError: the model has no per-frame networks: its features are made beforehand.
        """
        end_to_end = _end_to_end(model)
        for name in end_to_end.counted_modules:
            self.per_modality.setdefault(name, Counter())
        with torch.inference_mode():
            text = end_to_end.encode_text(batch)
            if isinstance(end_to_end, MESM):
                features = self._extract_sparse(end_to_end, batch, text)
            else:
                features = self._extract(end_to_end, batch)
            logits = end_to_end.branch_logits(batch, text, lambda view: features[view.name])
            fused: Tensor = end_to_end.fuse(logits)
        return fused

    def _extract(self, model: LateFusionModel, batch: Batch) -> dict[str, Tensor]:
        features = {}
        for view in model.views(batch):
            features[view.name] = view.frames
            if len(view.frames):
                with self._counting(view.name):
                    features[view.name] = view.branch.extractor(view.frames, None, view.lengths)
        return features

    def _extract_sparse(self, model: MESM, batch: Batch, text: Tensor | None) -> dict[str, Tensor]:
        extractors, views = model.sparse_extractors, model.views(batch)
        first_maps, features = {}, {}
        for view in views:
            with self._counting(view.name):
                first_maps[view.name] = extractors[view.name].first_stage_maps(view.frames)
        with self._counting("query") if model.query_encoder else nullcontext():
            query = model.project_query(batch, text, first_maps)
        for view in views:
            features[view.name] = view.frames
            if len(view.frames):
                extractor = extractors[view.name]
                with self._counting(view.name):
                    *_, last = extractor.walk(first_maps[view.name], query, view.lengths)
                    features[view.name] = extractor.finish(last)
        return features

    @contextmanager
    def _counting(self, name: str) -> Iterator[None]:
        """Add what is computed meanwhile to a modality."""
        with FlopCounterMode(display=False) as counter:
            yield
        for op, flops in counter.get_flop_counts().get("Global", {}).items():
            self.per_modality[name][_short(op)] += int(flops)

    def per_clip(self, clips: int) -> dict[str, Any]:
        """Total, attention, and by modality and op, each divided by the number of clips."""
        by_op: Counter[str] = Counter()
        for ops in self.per_modality.values():
            by_op.update(ops)
        return {
            "total": sum(by_op.values()) / clips,
            "attention": sum(n for op, n in by_op.items() if ATTENTION_OP in op) / clips,
            "by_modality": {
                name: sum(ops.values()) / clips for name, ops in self.per_modality.items()
            },
            "by_op": {op: flops / clips for op, flops in sorted(by_op.items())},
        }


def _end_to_end(model: nn.Module) -> LateFusionModel:
    if not isinstance(model, LateFusionModel):
        raise ValueError(
            f"wanted FE2E or MESM, whose feature extraction is measured, got "
            f"{type(model).__name__}, which reads features made beforehand"
        )
    return model


def dense_flops_per_frame(model: LateFusionModel) -> dict[str, int]:
    """FLOPs per frame of FE2E's extractors of a model's widths, from shapes, by modality."""
    shapes = {"face": FACE_SHAPE, "audio": CHUNK_SHAPE}
    found = {}
    for modality in model.feature_extractors:
        with torch.device("meta"):
            extractor = DenseExtractor(shapes[modality][0], model.channels).eval()
            frame = torch.empty(1, *shapes[modality])
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            extractor(frame, None, frame)
        found[modality] = int(counter.get_total_flops())
    return found


def _short(op: object) -> str:
    """`aten.convolution` and `mesm_ops.subm_conv2d`, without an overload's name."""
    return str(op).removesuffix(".default")


@dataclass
class SiteTally:
    """Mean share of a frame's sites, and of its candidates, that each block keeps."""

    frames: Counter[str] = field(default_factory=Counter)
    shares: dict[str, list[float]] = field(default_factory=dict)

    def count(self, model: MESM, batch: Batch) -> None:
        """Add the frames of a batch."""
        with torch.inference_mode():
            kept = model.kept_sites(batch)
        for modality, blocks in kept.items():
            sums = self.shares.setdefault(modality, [0.0] * len(blocks))
            self.frames[modality] += blocks[0].frames
            for place, maps in enumerate(blocks):
                sums[place] += int(maps.offsets[-1]) / (maps.height * maps.width)

    def mean(self) -> dict[str, list[float]]:
        """Per modality and block, kept sites over all sites, mean over the frames."""
        return {
            modality: [total / max(self.frames[modality], 1) for total in sums]
            for modality, sums in self.shares.items()
        }


@dataclass
class Stopwatch:
    """Forward passes of one model on one batch, timed in eval and inference mode.

    Attributes:
        whole: milliseconds per clip of the whole model, one value per pass.
        extraction: of that, the per-frame networks.
    """

    whole: list[float] = field(default_factory=list)
    extraction: list[float] = field(default_factory=list)

    def time(self, model: nn.Module, batch: Batch) -> None:
        """Run one pass to warm up and one that counts; errors as in `FlopTally.count`."""
        extracting = _end_to_end(model).counted_modules
        device = next(model.parameters()).device
        spent: list[float] = []
        started: list[float] = []

        def clock() -> float:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return 1000 * time.perf_counter()

        def enter(module: nn.Module, inputs: object) -> None:
            started.append(clock())

        def leave(module: nn.Module, inputs: object, outputs: object) -> None:
            spent.append(clock() - started.pop())

        hooks = []
        for module in itertools.chain.from_iterable(extracting.values()):
            hooks.append(module.register_forward_pre_hook(enter))
            hooks.append(module.register_forward_hook(leave))
        try:
            with torch.inference_mode():
                model(batch)
                spent.clear()
                start = clock()
                model(batch)
                self.whole.append((clock() - start) / len(batch))
                self.extraction.append(sum(spent) / len(batch))
        finally:
            for hook in hooks:
                hook.remove()

    def medians(self) -> dict[str, Any]:
        """Medians ("model", "extraction") and all values of the whole model ("all")."""
        return {
            "model": statistics.median(self.whole),
            "extraction": statistics.median(self.extraction),
            "all": self.whole,
        }
