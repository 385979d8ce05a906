"""How far the CPU kernels are from what the machine allows."""

from __future__ import annotations

from benchmarks.report import markdown
from benchmarks.shapes import FACE_BLOCKS
from benchmarks.tables.registry import Row, one, results, table

FACES = tuple(map(str, FACE_BLOCKS))


@table("roofline-float32")
def float32() -> str:
    """Every op in float32."""
    return _table("float32")


@table("roofline-bfloat16")
def bfloat16() -> str:
    """Every op in bfloat16."""
    return _table("bfloat16")


@table("roofline-dense")
def dense() -> str:
    """The rates of dense convolutions, by which FLOPs are reckoned."""
    rows = results("roofline")["rows"]
    return ", ".join(
        f"{shape} {dtype} {_first(rows, shape, dtype)['dense_gflop_per_s']:.0f}"
        for dtype in ("float32", "bfloat16")
        for shape in FACES
    )


@table("first-stage")
def first_stage() -> str:
    """The dense first stage's parts: time, and the rate beside a product of matrices."""
    rows = results("first-stage-epyc-2cores")["rows"]
    kinds = [(side, dtype) for dtype in ("float32", "bfloat16") for side in ("face", "audio")]
    lines = []
    for part in dict.fromkeys(row["part"] for row in rows):
        found = (one(rows, part=part, modality=side, dtype=dtype) for side, dtype in kinds)
        lines.append(
            (part, *(f"{row['ms']:.1f} ({row['of_product']:.0%})" for row in found)),
        )
    words = {"face": "faces", "audio": "chunks"}
    return markdown(("ms", *(f"{words[side]}, {dtype}" for side, dtype in kinds)), lines)


@table("roofline-weight")
def weight() -> str:
    """The weight gradient's shares of its floor, the least and the most."""
    rows = results("roofline")["rows"]
    shares = [row["of_floor"] for row in rows if row["op"].endswith(", weight")]
    return f"{min(shares):.0%} to {max(shares):.0%}"


def _first(rows: list[Row], shape: str, dtype: str) -> Row:
    return next(row for row in rows if (row["shape"], row["dtype"]) == (shape, dtype))


def _table(dtype: str) -> str:
    rows = [row for row in results("roofline")["rows"] if row["dtype"] == dtype]
    lines = []
    for op in dict.fromkeys(row["op"] for row in rows):
        found = (one(rows, op=op, shape=shape) for shape in FACES)
        lines.append((f"`{op}`", *map(_cell, found)))
    return markdown(("op: GFLOP, MB; floor → took, ms", *FACES), lines)


def _cell(row: Row) -> str:
    work = f"{row['gflop']:.2f}, {row['mb']:.1f}"
    return f"{work}; {row['floor_ms']:.2f} → {row['ms']:.2f} ({row['of_floor']:.0%})"
