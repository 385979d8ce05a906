"""The paper's networks at the densities that trained attentions keep: MESM against FE2E, whole.

Trained models are of the miniature's narrow widths. Here MESM has the paper's, weights drawn at
random, and in each block the p at which it keeps the share of sites that the study's MESM keeps
there on average (`benchmarks/results/study.json`, row "mesm"); FE2E has the same widths, in
channels-last. One training batch of the paper: 8 clips of 9 faces and 11 chunks; a small text
encoder; float32.

    python -m benchmarks.studies.trained_density     # a minute, on an idle machine
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

import torch

from benchmarks.environment import ROOT, environment
from benchmarks.measure import compare, count_flops, in_turns, rounds_within
from benchmarks.models import densities, draw_batch, make_model, model_run
from benchmarks.report import write_json
from benchmarks.shapes import PAPER_BATCH

STUDY = ROOT / "benchmarks/results/study.json"
RESULTS = ROOT / "benchmarks/results/trained-density-2cores.json"
ROW = "mesm"
HALVINGS = 12
SECONDS = 20.0


def p_for(model: Any, batch: Any, wanted: dict[str, list[float]]) -> dict[str, list[float]]:
    """The p of each block at which a MESM keeps given shares of the sites, by halving.

    Args:
        model: in evaluation mode; its p is changed.
        batch: clips that it looks at.
        wanted: per modality ("face", "audio") the share of each block's sites.
    """
    p = {name: [1.0] * len(shares) for name, shares in wanted.items()}
    for block in range(3):
        low, high = dict.fromkeys(wanted, 0.0), dict.fromkeys(wanted, 1.0)
        for _ in range(HALVINGS):
            for name in wanted:
                p[name][block] = (low[name] + high[name]) / 2
            model.set_p(p)
            found = densities(model, batch, torch.float32)["block_densities"]
            for name, shares in wanted.items():
                side = high if found[name][block] > shares[block] else low
                side[name] = p[name][block]
    return p


def measure(wanted: dict[str, list[float]]) -> dict[str, Any]:
    """Times of both whole models' forward passes, in turns, and their FLOPs."""
    batch = draw_batch()
    sparse, dense = (make_model(name).eval() for name in ("MESM", "FE2E"))
    p = p_for(sparse, batch, wanted)
    ours, rival = (model_run(model, batch, torch.float32, False) for model in (sparse, dense))
    times = in_turns({"mesm": ours, "fe2e": rival}, "cpu", rounds_within(SECONDS))
    return {
        "clips": str(PAPER_BATCH),
        "threads": torch.get_num_threads(),
        "dtype": "float32",
        "p": p,
        "wanted_density": wanted,
        "density": densities(sparse, batch, torch.float32)["block_densities"],
        "flops": count_flops(ours),
        "fe2e_flops": count_flops(rival),
        **compare(times["mesm"], times["fe2e"]),
    }


def main() -> None:
    """Measure, print and write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.trained_density",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.parse_args()
    wanted = json.loads(STUDY.read_text())["summary"]["rows"][ROW]["active_sites"]
    content = {
        "machine": environment(),
        "load_before": os.getloadavg()[0],
        "row": measure(wanted),
    }
    write_json(RESULTS, content)
    print(json.dumps(content["row"], indent=1))


if __name__ == "__main__":
    main()
