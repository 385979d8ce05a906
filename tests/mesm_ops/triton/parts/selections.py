"""A selection's backward pass as equations, and as arguments of the kernels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mesm_ops.triton.parts.finish import finish
from mesm_ops.triton.parts.prepare import prepare
from mesm_ops.triton.parts.schedule import TILE, Schedule, schedule_of
from mesm_ops.triton.parts.score_gradients import score_gradients
from mesm_ops.triton.parts.selection_gradients import grad_attention
from tests.mesm_ops.cases import assert_close, make_case

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NAMES = (
    *("features", "query", "map_weight", "map_bias", "query_weight", "score_weight"),
    "score_bias",
)


@dataclass(frozen=True)
class Selection:
    """Candidates, a mask of the kept ones, and the gradient of the kept rows."""

    features: Tensor  # (N, C), NaN in padding
    offsets: Tensor  # (F + 1,)
    lengths: Tensor | None
    sample: Tensor  # of each candidate, less padding
    frame: Tensor  # likewise
    kept: Tensor  # (K,) candidate rows
    place: Tensor  # (N,): senseless beyond K
    rows: Tensor  # (N,)
    kept_offsets: Tensor  # (F + 1,)
    grad_x: Tensor  # (T * 128, C), NaN beyond K
    parameters: list[Tensor]  # query, map_weight, map_bias, query_weight, score_weight, score_bias

    @property
    def real(self) -> int:
        """How many candidates there are."""
        return self.frame.shape[0]

    def attention(self, features: Tensor, parameters: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits and attention of the candidates, by the equations."""
        query, map_weight, map_bias, query_weight, score_weight, score_bias = parameters
        projected_query = query @ query_weight.T
        hidden = torch.tanh(features @ map_weight.T + map_bias + projected_query[self.sample])
        logits = (hidden @ score_weight.T + score_bias)[:, 0]
        frames = self.offsets.shape[0] - 1
        attention = [logits[self.frame == f].softmax(0) for f in range(frames)]
        return logits, torch.cat([logits[:0], *attention])

    def gradients(self, how: str, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the equations' gradients by torch's autograd, computed in a dtype."""
        features = self.features[: self.real].to(dtype).requires_grad_()
        parameters = [tensor.to(dtype).requires_grad_() for tensor in self.parameters]
        logits, attention = self.attention(features, parameters)
        logits.retain_grad()
        scale = torch.ones_like(attention)
        if how == "weighted":
            scale = self.offsets.diff()[self.frame] * attention
        elif how == "straight_through":
            # One, with the slope of log a: handed straight through the selection.
            frames = range(self.offsets.shape[0] - 1)
            logs = [logits[:0], *(logits[self.frame == f].log_softmax(0) for f in frames)]
            scale = 1 + torch.cat(logs) - torch.cat(logs).detach()
        x = features[self.kept] * scale[self.kept, None]
        grad = self.grad_x[self.place[: len(self.kept)].long()].to(dtype)
        (x * grad).sum().backward()
        found = dict(zip(NAMES, (tensor.grad for tensor in (features, *parameters)), strict=True))
        return {"logits": logits.grad, **found}  # type: ignore[dict-item]

    def run(
        self, how: str, moments: Tensor | None = None, plan: Schedule | None = None
    ) -> dict[str, Tensor]:
        """Return the kernels' gradients, of features and logits with padding."""
        features, offsets, lengths = (
            None if t is None else t.to(DEVICE) for t in (self.features, self.offsets, self.lengths)
        )
        assert features is not None
        assert offsets is not None
        query, map_weight, map_bias, query_weight, score_weight, _ = (
            tensor.to(DEVICE) for tensor in self.parameters
        )
        (number, channels), samples, k = features.shape, query.shape[0], map_weight.shape[0]
        if plan is None:
            plan = schedule_of(number, samples, channels, k, features.dtype, features.device)
        projected_query = torch.full((samples, k), torch.nan, device=DEVICE)
        mapped = torch.full((k, channels), torch.nan, device=DEVICE, dtype=features.dtype)
        schedule = torch.full((plan.size,), 10**6, dtype=torch.int32, device=DEVICE)
        prepare(
            *(features, offsets, query, lengths, map_weight, map_bias, query_weight),
            *(projected_query, mapped, None, plan, schedule),
        )
        attention = torch.zeros(number)
        parameters = [tensor.double() for tensor in self.parameters]
        attention[: self.real] = self.attention(features[: self.real].cpu().double(), parameters)[1]
        grad_logits = torch.full((number,), torch.nan, device=DEVICE)
        position_of = torch.full((number,), 10**6, dtype=torch.int32, device=DEVICE)
        factor = torch.full_like(grad_logits, torch.nan) if how == "weighted" else None
        grad_x = self.grad_x.to(DEVICE)
        grad_attention(
            *(grad_x, features, offsets, self.rows.to(DEVICE), self.kept_offsets.to(DEVICE)),
            *(self.place.to(DEVICE), attention.to(DEVICE), grad_logits, position_of, factor),
            None if moments is None else moments.to(DEVICE),
        )
        made = [
            torch.full_like(tensor, torch.nan)
            for tensor in (features, query, map_weight, map_bias, query_weight, score_weight)
        ]
        made.append(torch.full_like(score_weight[0, :1], torch.nan))
        scores = score_gradients(
            *(plan, grad_logits, features, offsets, query, projected_query, schedule, mapped),
            *(query_weight, score_weight, *made, grad_x, position_of, factor),
        )
        finish(scores=scores)
        return {
            "logits": grad_logits.cpu(),
            **{name: tensor.cpu() for name, tensor in zip(NAMES, made, strict=True)},
        }


def draw_selection(
    shape: tuple[int, int, int, int],
    density: float,
    lengths: list[int] | None,
    k: int,
    depth: int,
    dtype: torch.dtype,
    padding: int = 5,
    share: float = 0.5,
    parameters: torch.dtype | None = None,
) -> Selection:
    """Draw candidates and the kept ones, at least one of each frame with candidates."""
    x = make_case(*shape, density=density, dtype=dtype, padding=padding).x
    counts, real, channels = x.offsets.diff().long(), int(x.offsets[-1]), x.channels
    frame = torch.arange(x.frames).repeat_interleave(counts)
    if lengths is None:
        sample = frame
    else:
        sample = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))[frame]
    keep = torch.rand(real) < share
    keep[x.offsets[:-1][counts > 0].long()] = True
    kept = keep.nonzero()[:, 0]
    number = x.features.shape[0]
    rows = torch.full((number,), -1, dtype=torch.int32)
    rows[: len(kept)] = kept.int()
    place = torch.full((number,), 10**6, dtype=torch.int32)
    place[: len(kept)] = torch.randperm(len(kept)).int()
    kept_offsets = torch.cat([torch.zeros(1, dtype=torch.int32), keep.cumsum(0).int()])[x.offsets]
    grad_x = torch.full((-(-number // 128) * 128, channels), torch.nan, dtype=dtype)
    grad_x[: len(kept)] = torch.randn(len(kept), channels).to(dtype)
    samples = x.frames if lengths is None else len(lengths)
    shapes = ((samples, depth), (k, channels), (k,), (k, depth), (1, k), (1,))
    scales = (1.0, channels**-0.5, 1.0, depth**-0.5, 1.0, 1.0)
    drawn = [
        (torch.randn(size) * scale).to(dtype).to(parameters or dtype)
        for size, scale in zip(shapes, scales, strict=True)
    ]
    given = None if lengths is None else torch.tensor(lengths)
    return Selection(
        *(x.features, x.offsets, given, sample, frame, kept, place, rows, kept_offsets),
        *(grad_x, drawn),
    )


def plan_of(case: Selection, one_pass: bool, tiles: int) -> Schedule:
    """Return a plan of so many tiles for a chunk."""
    number, samples = len(case.features), len(case.parameters[0])
    chunk = tiles * TILE
    return Schedule(one_pass, chunk, min(number, -(-number // chunk) + samples), samples)


def check_gradients(case: Selection, how: str, plan: Schedule | None) -> None:
    """Compare the kernels' results with float64 autograd of the equations."""
    dtype = case.features.dtype
    found, wanted = case.run(how, plan=plan), case.gradients(how, torch.float64)
    for name in ("logits", "features"):
        padding = found[name][case.real :]
        if name == "features":
            assert not padding.any(), "padding rows must be zero"
        found[name] = found[name][: case.real]
    if dtype == torch.float32:
        # Zero: an addend common to all logits does not change the softmax.
        assert found.pop("score_bias").abs() <= 1e-6 * wanted["logits"].abs().sum()
        del wanted["score_bias"]
        for name, gradient in wanted.items():
            assert_close(found[name], gradient, f"grad of {name}")
        return
    theirs = case.gradients(how, dtype)
    for name, gradient in wanted.items():
        error, allowed = ((g.double() - gradient).norm() for g in (found[name], theirs[name]))
        # Twice the error of torch's own ops, and a rounding for gradients that are nearly zero.
        assert error <= 2 * allowed + 1e-6 * len(case.frame), f"grad of {name}"
