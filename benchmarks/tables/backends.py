"""Which backends have which ops, read from the library itself and not from a measurement."""

from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.report import markdown
from benchmarks.tables.registry import table
from mesm_ops import backends
from mesm_ops.reference import Selection, SubmConv2d, TopPSelect

_REFUSED = "it takes "  # how a backend begins that refuses a dtype
DTYPES = ("float32", "bfloat16", "float16", "float64")
# A backend's words, the device it computes on, and an op that it has.
COLUMNS = {
    "cpp": ("C++ (CPU)", "cpu", "subm_conv2d"),
    "cuda": ("CUDA C++ (GPU)", "cuda", "top_p_select"),
    "triton": ("Triton (GPU)", "cuda", "subm_conv2d"),
    "reference": ("plain torch", "cpu", "subm_conv2d"),
}


@table("ops")
def ops() -> str:
    """Ops, backends and directions, and below them the dtypes each backend takes."""
    stems = [name for name in backends.ops() if not name.endswith("_backward")]
    lines = [(f"`{stem}`", *(_directions(stem, backend) for backend in COLUMNS)) for stem in stems]
    lines.append(("dtypes", *(_dtypes(backend) for backend in COLUMNS)))
    return markdown(("op", *(words for words, _, _ in COLUMNS.values())), lines)


def _directions(stem: str, backend: str) -> str:
    names = {"forward": stem, "backward": f"{stem}_backward"}
    known = backends.ops()
    there = [
        words
        for words, name in names.items()
        if name in known and not _is_missing(backends.available(name, backend))
    ]
    return ", ".join(there) or "–"


def _is_missing(reason: str | None) -> bool:
    return reason is not None and reason.startswith("there is no ")


def _dtypes(backend: str) -> str:
    _, device, op = COLUMNS[backend]
    with FakeTensorMode():  # tensors of any device without the device
        samples = {name: _sample(op, device, name) for name in DTYPES}
        reasons = {name: backends.refusal(op, backend, a) for name, a in samples.items()}
    return ", ".join(name for name, why in reasons.items() if not (why or "").startswith(_REFUSED))


def _sample(op: str, device: str, dtype: str) -> SubmConv2d | TopPSelect:
    features = torch.empty(4, 8, dtype=getattr(torch, dtype), device=device)
    sites = torch.empty(4, dtype=torch.int32, device=device)
    offsets = torch.empty(2, dtype=torch.int32, device=device)
    if op == "subm_conv2d":
        return SubmConv2d(features, sites, offsets, 2, 2, features.new_empty(8, 8, 3, 3), None)
    logits = features.new_empty(4, dtype=torch.float64 if dtype == "float64" else torch.float32)
    return TopPSelect(features, sites, offsets, logits, 0.5, Selection.WEIGHTED, trim=False)
