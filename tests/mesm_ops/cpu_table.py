"""Tries every op and layer on a CPU in every dtype, and writes what ran into docs/block.md.

python -m tests.mesm_ops.cpu_table
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import mesm_ops
from mesm_ops import SparseCrossModalBlock, SparseFeatureMaps, use_backend

DOCUMENT = Path(__file__).parents[2] / "docs" / "block.md"
BEGIN = "<!-- made by tests/mesm_ops/cpu_table.py -->"
END = "<!-- end -->"
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
# Allowed error over the norm of all entries, for values that were rounded several times.
_CLOSE = {torch.float32: 1e-4, torch.bfloat16: 0.3, torch.float16: 0.05, torch.float64: 1e-10}

Run = Callable[[torch.dtype], tuple[Tensor, list[Tensor]]]  # a result, and the leaves


def _maps(dtype: torch.dtype, rounded: torch.dtype) -> tuple[SparseFeatureMaps, Tensor]:
    torch.manual_seed(3)
    maps = torch.randn(3, 4, 6, 6).to(rounded).to(dtype)
    x = SparseFeatureMaps.from_dense(maps, torch.rand(3, 6, 6) < 0.8)
    features = x.features.detach().requires_grad_()
    return x.with_features(features), features


def _leaf(dtype: torch.dtype, rounded: torch.dtype, *shape: int) -> Tensor:
    return torch.randn(*shape).to(rounded).to(dtype).requires_grad_()


def _ops(rounded: torch.dtype) -> dict[str, Run]:
    """Return the ops' public functions, on values that `rounded` holds exactly."""

    def conv(dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
        x, features = _maps(dtype, rounded)
        given = [_leaf(dtype, rounded, 5, 4, 3, 3), _leaf(dtype, rounded, 5)]
        return mesm_ops.subm_conv2d(x, *given).features, [features, *given]

    def norm(training: bool) -> Run:
        def run(dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
            x, features = _maps(dtype, rounded)
            given = [_leaf(dtype, rounded, 4), _leaf(dtype, rounded, 4)]
            running = torch.zeros(4, dtype=dtype), torch.ones(4, dtype=dtype)
            out = mesm_ops.sparse_batch_norm(x, *running, *given, training, relu=True)
            return out.features, [features, *given]

        return run

    def score(dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
        x, features = _maps(dtype, rounded)
        shapes = ((3, 7), (5, 4), (5,), (5, 7), (1, 5), (1,))
        query, *given = (_leaf(dtype, rounded, *shape) for shape in shapes)
        return mesm_ops.cross_modal_score(x, query, None, *given), [features, query, *given]

    def select(dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
        x, features = _maps(dtype, rounded)
        wide = torch.promote_types(dtype, torch.float32)
        logits = _leaf(wide, torch.float32, features.shape[0])
        return mesm_ops.top_p_select(x, logits, 0.5).features, [features, logits]

    def pool(dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
        x, features = _maps(dtype, rounded)
        return mesm_ops.sparse_max_pool2d(x).features, [features]

    return {
        "`subm_conv2d`": conv,
        "`sparse_batch_norm`, training": norm(True),
        "`sparse_batch_norm`, inference": norm(False),
        "`cross_modal_score`": score,
        "`top_p_select`": select,
        "`sparse_max_pool2d`": pool,
    }


def _layers(rounded: torch.dtype) -> dict[str, Run]:
    """Return the block and its parts as modules."""

    def made(
        call: Callable[[SparseCrossModalBlock, SparseFeatureMaps, Tensor], SparseFeatureMaps],
        cast: torch.dtype | None = None,
        training: tuple[bool, bool] = (False, False),
    ) -> Run:
        def run(dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
            x, features = _maps(dtype, rounded)
            block = SparseCrossModalBlock(4, 5, 7, 5, p=1.0).to(rounded).to(dtype)
            for norm, trains in zip((block.norm1, block.norm2), training, strict=True):
                norm.train(trains)
            query = _leaf(dtype, rounded, 3, 7)
            with torch.autocast("cpu", cast, enabled=cast is not None and dtype is rounded):
                out = call(block, x, query).features
            used = [p for n, p in block.named_parameters() if n.startswith("attention")]
            return out, [features, query, *used]

        return run

    both = (True, True)
    return {
        "`CrossModalAttention`": made(lambda b, x, q: b.attention(x, q, None)),
        "`SparseCrossModalBlock`, training": made(lambda b, x, q: b(x, q), training=both),
        "`SparseCrossModalBlock`, inference": made(lambda b, x, q: b(x, q)),
        "one norm in inference": made(lambda b, x, q: b(x, q), training=(True, False)),
        "`attend`, then `convolve`": made(lambda b, x, q: b.convolve(b.attend(x, q))),
        "the block, autocast to bfloat16": made(lambda b, x, q: b(x, q), torch.bfloat16),
        "the block, autocast to float16": made(lambda b, x, q: b(x, q), torch.float16),
        "the halves, autocast to float16": made(
            lambda b, x, q: b.convolve(b.attend(x, q)), torch.float16
        ),
    }


def _tried(run: Run, dtype: torch.dtype, backend: str, cast: bool) -> tuple[str, str] | str:
    """Return which directions a backend runs; the reason for which it does not."""
    try:
        with use_backend(backend):
            out, leaves = run(dtype)
    except (ValueError, RuntimeError) as error:
        return str(error)
    with use_backend("reference"):
        wanted, exact = run(torch.float64)
    close = 0.3 if cast else _CLOSE[dtype]
    _check(out, wanted, close)
    torch.manual_seed(3)
    grad = torch.rand(out.shape, dtype=torch.float64).to(out.dtype)
    try:
        out.backward(grad)
    except (ValueError, RuntimeError) as error:
        return str(error)
    wanted.backward(grad.double())
    for leaf, other in zip(leaves, exact, strict=True):
        if leaf.grad is None or other.grad is None:
            raise AssertionError("a gradient is missing")
        _check(leaf.grad, other.grad, close)
    return "forward", "backward"


def _check(got: Tensor, wanted: Tensor, close: float) -> None:
    # By the norm: rounding moves single maxima and single values over the edge of the ReLU.
    got, wanted = got.detach().double(), wanted.detach()
    off, size = float((got - wanted).norm()), max(float(wanted.norm()), 1.0)
    if not off <= close * size:
        raise AssertionError(f"off by {off} of {size}")


def cell(run: Run, dtype: torch.dtype, cast: bool = False) -> str:
    """Return the backend that runs a call, both ways and rightly; "refused" if none does.

    Raises:
        AssertionError: A result is not right, or a refusal names no op.
    """
    chosen = _tried(run, dtype, "auto", cast)
    if isinstance(chosen, str):
        named = any(chosen.startswith(name) for name in mesm_ops.__all__)
        if not named:
            raise AssertionError(f"a refusal that names no op: {chosen}")
        return "refused"
    forced = _tried(run, dtype, "cpp", cast)
    if isinstance(forced, str) and "backend 'cpp' cannot run" not in forced:
        raise AssertionError(forced)
    return "reference" if isinstance(forced, str) else "cpp"


def table() -> str:
    """Return the table as Markdown, each cell tried."""
    names = [str(dtype).removeprefix("torch.") for dtype in DTYPES]
    lines = ["| on a CPU, forward and backward | " + " | ".join(names) + " |"]
    lines.append("|---" * (1 + len(names)) + "|")
    calls = {dtype: _ops(dtype) | _layers(dtype) for dtype in DTYPES}
    for name in calls[torch.float32]:
        cells = [cell(calls[dtype][name], dtype, "autocast" in name) for dtype in DTYPES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def written() -> str:
    """Return the table that the document holds."""
    return DOCUMENT.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].strip()


if __name__ == "__main__":
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}", encoding="utf-8")
