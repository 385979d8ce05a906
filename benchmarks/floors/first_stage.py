"""Where the dense first stage's time goes, beside a product of matrices, into one JSON.

The first stage is dense in every model, and most of a forward pass at the densities that a trained
MESM keeps. Faces and spectrogram chunks at the paper's width, channels-last, inference: batch norms
are folded into the convolutions.

    python -m benchmarks.floors.first_stage --threads 2
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.environment import environment
from benchmarks.measure import count_flops, median_ms
from benchmarks.report import write_json
from benchmarks.shapes import DTYPES
from mesm.data.batch import CHUNK_SHAPE, FACE_SHAPE
from mesm.models.convolutions import FirstStage, channels_last, frames_channels_last
from mesm.models.late_fusion import PAPER_CHANNELS

RESULTS = Path(__file__).parents[1] / "results"
FRAMES = 32
SIDE = 2048  # of the matrices whose product is the machine's rate
SECONDS = 1.0  # for each part


def product_rate(dtype: torch.dtype) -> float:
    """GFLOP/s of a product of two large matrices."""
    a, b = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
    return 2 * SIDE**3 / median_ms(lambda: a @ b, "cpu", SECONDS) / 1e6


def parts_of(stage: FirstStage, frames: Tensor) -> dict[str, Callable[[], Tensor]]:
    """The stage, and each of its parts on the maps that reach it.

    Args:
        stage: in inference mode.
        frames: (F, Cin, H, W), channels-last.
    """
    alone = FirstStage(frames.shape[1], stage.conv.out_channels)
    alone.conv, alone.norm = stage.conv, stage.norm
    for place in ("pair1", "pair2"):
        setattr(alone, place, nn.Identity())
    alone.eval()
    maps = alone(frames)
    between = stage.pair1(maps)
    return {
        "all": lambda: stage(frames),
        "5x5, pool": lambda: alone(frames),
        "first pair": lambda: stage.pair1(maps),
        "second pair": lambda: stage.pair2(between),
    }


@torch.no_grad()
def measure(modality: str, shape: tuple[int, ...], dtype: torch.dtype) -> list[dict[str, Any]]:
    """A row per part."""
    channels = PAPER_CHANNELS[0]
    stage = FirstStage(shape[0], channels).eval().to(dtype)
    channels_last(stage)
    frames = frames_channels_last(torch.randn(FRAMES, *shape).to(dtype))
    rate, rows = product_rate(dtype), []
    for name, run in parts_of(stage, frames).items():
        flops, ms = count_flops(run), median_ms(run, "cpu", SECONDS)
        rows.append(
            {
                "modality": modality,
                "part": name,
                "dtype": str(dtype).removeprefix("torch."),
                "frames": FRAMES,
                "gflop": flops / 1e9,
                "ms": ms,
                "gflop_per_s": flops / ms / 1e6,
                "product_gflop_per_s": rate,
                "of_product": flops / ms / 1e6 / rate,
            }
        )
        print(
            f"{modality:6} {name:12} {rows[-1]['dtype']:9} {flops / 1e9:6.2f} GFLOP {ms:7.2f} ms "
            f"{flops / ms / 1e6:5.0f} GFLOP/s, {100 * rows[-1]['of_product']:3.0f} % of a product "
            "of matrices",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.floors.first_stage",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--results", type=Path, default=RESULTS / "first-stage.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = [
        row
        for name in ("float32", "bfloat16")
        for modality, shape in (("face", FACE_SHAPE), ("audio", CHUNK_SHAPE))
        for row in measure(modality, shape, DTYPES[name])
    ]
    write_json(arguments.results, {"rows": rows, "environment": environment()})
    print(arguments.results)


if __name__ == "__main__":
    main()
