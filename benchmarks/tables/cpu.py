"""Times of the CPU kernels: against PyTorch's dense block, against rivals, over shapes."""

from __future__ import annotations

from benchmarks.report import markdown
from benchmarks.shapes import AUDIO_BLOCKS, FACE_BLOCKS, HEADLINE_P, PAPER_BATCH
from benchmarks.tables.registry import Row, one, results, table

DENSE = "cpu-epyc-2cores"
RIVALS = "rivals-epyc-2cores"
SHAPES = "shapes-epyc-2cores"
FACES = tuple(map(str, FACE_BLOCKS))
AUDIO = tuple(map(str, AUDIO_BLOCKS))

# The benchmark's words for a measurement, its dtype, its p, and the words for a reader.
HEADLINE = (
    ("subm_conv2d forward", "float32", None, "`subm_conv2d` forward, float32"),
    ("subm_conv2d forward", "bfloat16", None, "`subm_conv2d` forward, bfloat16"),
    ("block inference", "float32", HEADLINE_P, "block, inference, float32"),
    ("block inference", "bfloat16 autocast", HEADLINE_P, "block, inference, bfloat16 autocast"),
    ("block training step", "float32", HEADLINE_P, "block, training step, float32"),
    (
        "block training step",
        "bfloat16 autocast",
        HEADLINE_P,
        "block, training step, bfloat16 autocast",
    ),
)
STEPS = {"inference": "block inference", "training step": "block training step"}


@table("cpu-headline")
def headline() -> str:
    """Ratios against dense with half of the sites kept, and the FLOP rate beside dense's."""
    rows = results(DENSE)["rows"]
    return markdown(
        ("ratio (FLOP rate as a share of dense's)", *FACES),
        [
            (words, *(_ratio(one(rows, what=what, dtype=dtype, p=p, shape=s)) for s in FACES))
            for what, dtype, p, words in HEADLINE
        ],
    )


@table("cpu-ratios")
def ratios() -> str:
    """The ratios of the block in float32 alone, for a page with little room."""
    rows = results(DENSE)["rows"]
    lines = []
    for words, what in STEPS.items():
        wanted = {"what": what, "dtype": "float32", "p": HEADLINE_P}
        found = (one(rows, shape=shape, **wanted)["ratio"] for shape in FACES)
        lines.append((f"{words}, dense PyTorch", *(f"{ratio:.2f}" for ratio in found)))
    for rival in ("dense, compiled", "spconv, 1 thread"):
        wanted = {"what": "block inference", "rival": rival}
        found = (one(results(RIVALS)["rows"], shape=shape, **wanted)["ratio"] for shape in FACES)
        words = {"dense, compiled": "`torch.compile`, frozen weights"}.get(rival, rival)
        lines.append((f"inference, {words}", *(f"{ratio:.2f}" for ratio in found)))
    return markdown(("block, float32, half of the sites; rival's time over ours", *FACES), lines)


@table("cpu-models")
def models() -> str:
    """MESM against FE2E in a sentence."""
    inference, step = _models()
    shares = (f"{row['flops'] / row['dense_flops']:.0%}" for row in (inference, step))
    return (
        f"{PAPER_BATCH}, {step['dtype']}: {inference['ratio']:.2f} forward, {step['ratio']:.2f} a "
        f"training step, at {' and '.join(shares)} of the FLOPs; peak memory of the step "
        f"{step['peak_mib']:.0f} MiB against {step['dense_peak_mib']:.0f}"
    )


def _models() -> tuple[Row, Row]:
    rows = results(DENSE)["rows"]
    whats = ("MESM inference", "MESM training step")
    inference, step = (one(rows, what=what, p=HEADLINE_P) for what in whats)
    return inference, step


@table("cpu-slower")
def slower() -> str:
    """How many rows dense PyTorch wins, at which p, and by how much."""
    rows = [row for row in results(DENSE)["rows"] if "ratio" in row]
    lost = sorted((row for row in rows if row["ratio"] < 1), key=lambda row: row["ratio"])
    at = " and ".join(f"{p:g}" for p in sorted({row["p"] for row in lost}))
    span = f"{lost[0]['ratio']:.2f} to {lost[-1]['ratio']:.2f}"
    return f"{len(lost)} of {len(rows)} rows were slower than dense, all at p = {at} ({span})"


@table("cpu-memory")
def memory() -> str:
    """Peak memory of the block's training step, ours and dense's."""
    rows, lines = results(DENSE)["rows"], []
    for dtype in ("float32", "bfloat16 autocast"):
        wanted = {"what": "block training step", "dtype": dtype, "p": HEADLINE_P}
        found = [one(rows, shape=shape, **wanted) for shape in FACES]
        cells = (f"{row['peak_mib']:.0f} / {row['dense_peak_mib']:.0f}" for row in found)
        lines.append((dtype, *cells))
    return markdown(("MiB, ours / dense", *FACES), lines)


@table("cpu-rivals-conv")
def rivals_conv() -> str:
    """The convolution against each rival."""
    return _rivals("subm_conv2d forward")


@table("cpu-rivals-block")
def rivals_block() -> str:
    """The block's inference against each rival."""
    return _rivals("block inference")


@table("cpu-shapes")
def shapes() -> str:
    """The blocks of spectrograms."""
    rows, lines = results(SHAPES)["rows"], []
    for words, what in STEPS.items():
        found = (one(rows, what=what, shape=shape)["ratio"] for shape in AUDIO)
        lines.append((words, *(f"{ratio:.2f}" for ratio in found)))
    return markdown(("blocks of spectrograms, 32 frames", *AUDIO), lines)


@table("cpu-frames")
def frames() -> str:
    """The block's inference over the number of frames."""
    rows = [row for row in results(SHAPES)["rows"] if row["shape"] in FACES]
    rows += [
        row
        for row in results(DENSE)["rows"]
        if (row["what"], row["dtype"], row["p"]) == ("block inference", "float32", HEADLINE_P)
    ]
    lines = []
    for count in sorted({row["frames"] for row in rows}):
        found = [one(rows, frames=count, shape=shape) for shape in FACES]
        cells = (f"{row['ratio']:.2f} ({row['ms'] / count:.2f} ms)" for row in found)
        lines.append((str(count), *cells))
    return markdown(("frames: ratio (our time for each)", *FACES), lines)


def _ratio(row: Row) -> str:
    ours = row["flops"] / row["ms"]
    dense = row["dense_flops"] / row["rival_ms"]
    return f"{row['ratio']:.2f} ({ours / dense:.2f})"


def _rivals(what: str) -> str:
    rows = [row for row in results(RIVALS)["rows"] if row["what"] == what]
    lines = []
    for rival in dict.fromkeys(row["rival"] for row in rows):
        found = (one(rows, rival=rival, shape=shape)["ratio"] for shape in FACES)
        lines.append((rival, *(f"{ratio:.2f}" for ratio in found)))
    return markdown(("rival", *FACES), lines)
