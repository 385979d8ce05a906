"""How long MESM's first training step takes in the process that it runs in.

    python -m benchmarks.gpu.first_step --device cuda

Prints one line of JSON: seconds for imports, for making the model, and for the first two steps.
"""

from __future__ import annotations

import time

START = time.perf_counter()

import argparse  # noqa: E402
import json  # noqa: E402
from dataclasses import replace  # noqa: E402

import torch  # noqa: E402

from benchmarks.models import draw_batch, make_model, model_run  # noqa: E402
from benchmarks.shapes import LONG_BATCHES  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.first_step", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--channels", type=int, nargs=4)
    arguments = parser.parse_args()
    channels = tuple(arguments.channels) if arguments.channels else None
    model = make_model("MESM", channels)  # imports the models
    found = {"import_s": time.perf_counter() - START}

    def lap(name: str, start: float) -> None:
        if arguments.device == "cuda":
            torch.cuda.synchronize()
        found[name] = time.perf_counter() - start

    start = time.perf_counter()
    model = model.to(arguments.device).train()
    clips = replace(LONG_BATCHES[0], count=arguments.clips)
    batch = draw_batch(clips).to(arguments.device)
    step = model_run(model, batch, torch.bfloat16, train=True)
    lap("make_s", start)
    for name in ("first_step_s", "second_step_s"):
        start = time.perf_counter()
        step()
        lap(name, start)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
