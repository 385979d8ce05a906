"""CPU time and disk of preparing and of training, per minute of clips, on miniature corpora.

The miniature corpora have the layouts of real ones, and here their sizes and rates too: recordings
of 720x480 with two people side by side (IEMOCAP), of 640x360 (CMU-MOSEI), of 1280x720 (MELD,
RAVDESS) and of 480x360 (CREMA-D). Settings are the experiment's
own: the smallest face 20 pixels, the paper's sizes, a text encoder of ALBERT-base's size with
weights drawn at random.

CPU time of all processes is taken, not time on the clock, so that other work on the machine costs
little. A command for so few clips mostly starts: what grows with clips is measured apart, unit by
unit in a process that has started, the least of two rounds. Training is the difference between two
corpora with IEMOCAP's layout, on each three epochs of training on 70 % of its clips and validation
on 10 %: what does not grow with clips drops out.

    python -m benchmarks.studies.experiment_cost     # about ten minutes on 2 idle cores
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from benchmarks.environment import ROOT, environment
from benchmarks.report import write_json
from benchmarks.scaling.measure import units_side_by_side
from mesm.corpora.miniature.emotions import Layout
from mesm.corpora.miniature.generate import generate
from mesm.corpora.miniature.media import VIDEOS, VideoFormat
from mesm.corpora.prepared import PreparedCorpus

RESULTS = ROOT / "benchmarks/results/experiment-cost-2cores.json"
FILMED: dict[Layout, VideoFormat] = {
    "iemocap": replace(VIDEOS["iemocap"], width=720, height=480, rate=Fraction(30000, 1001)),
    "mosei": replace(VIDEOS["mosei"], width=640, height=360, rate=Fraction(30)),
    "meld": replace(VIDEOS["meld"], width=1280, height=720, rate=Fraction(24000, 1001)),
    "ravdess": replace(VIDEOS["ravdess"], width=1280, height=720, rate=Fraction(30000, 1001)),
    # Times as uneven as the miniature's fit its few pictures a second alone.
    "crema_d": replace(
        VIDEOS["crema_d"], width=480, height=360, rate=Fraction(30000, 1001), late=(0,)
    ),
}
SYSTEMS = ("fe2e", "mesm")
TRAINED: Layout = "iemocap"
FEW_CLIPS, EPOCHS = 8, 3
ALBERT_BASE = (
    *("model.text.embedding=128", "model.text.hidden=768", "model.text.heads=12"),
    *("model.text.layers=12", "model.text.feedforward=3072"),
)


def cpu_seconds(*arguments: str) -> float:
    """Run a `mesm` command and return the CPU time of all its processes.

    Raises:
        subprocess.CalledProcessError: The command failed; its words are on stderr.
    """
    before = _children()
    command = [sys.executable, "-m", "mesm", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure_layout(layout: Layout, clips: int, prepared: Path) -> dict[str, Any]:
    """Generate a corpus and prepare it; returns the amount prepared and its cost.

    The cost is that of the whole command, and that of its units alone: what grows with clips.
    """
    raw, video = prepared.parent / f"raw-{prepared.name}", FILMED[layout]
    generate(raw, clips=clips, seed=0, layout=layout, video=video)
    preparing = cpu_seconds("prepare", layout, str(raw), str(prepared))
    manifest = PreparedCorpus.open(prepared).manifest
    count = sum(split.clips for split in manifest.counts.values())
    return {
        "pictures": f"{video.width}x{video.height}",
        "clips": count,
        "minutes": count * manifest.averages["all"].seconds / 60,
        "prepare_cpu_s": preparing,
        "units_cpu_s": sum(
            unit.cpu_s
            for unit in units_side_by_side(layout, raw, prepared.parent / "parts", 1, repeats=2)
        ),
        "prepared_bytes": _size(prepared),
    }


def measure_training(system: str, few: Path, many: Path, minutes: float) -> dict[str, Any]:
    """Train a system on two prepared corpora.

    Args:
        system: "fe2e" or "mesm".
        few: the smaller corpus.
        many: the larger one.
        minutes: by how much its clips last longer.

    Returns:
        CPU time of an epoch per minute of the corpus' clips, and the size of a run's folder.
    """
    seconds, size = [], 0
    for corpus in (few, many):
        run = corpus.parent / f"run-{system}-{corpus.name}"
        changes = (f"corpus={corpus}", f"training.epochs={EPOCHS}", *ALBERT_BASE)
        seconds.append(cpu_seconds("train", f"{TRAINED}_{system}", "--run", str(run), *changes))
        size = _size(run)
    more = (seconds[1] - seconds[0]) / EPOCHS
    return {"epoch_cpu_s_per_minute": more / minutes, "run_bytes": size}


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    """Measure, print and write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.experiment_cost",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument("--clips", type=int, default=32, help="of each corpus")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only", choices=("prepare",), help="keep what RESULTS has of trainings")
    arguments = parser.parse_args()
    content: dict[str, Any] = {"machine": environment(), "load_before": os.getloadavg()[0]}
    where = content["preparing"] = {**content}
    if arguments.only:
        content = json.loads(arguments.results.read_text()) | {"preparing": where}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        content["corpora"] = {
            layout: measure_layout(layout, arguments.clips, folder / layout) for layout in FILMED
        }
        where["load_after"] = os.getloadavg()[0]
        if not arguments.only:
            few, many = folder / "few", folder / TRAINED
            less = measure_layout(TRAINED, FEW_CLIPS, few)["minutes"]
            minutes = content["corpora"][TRAINED]["minutes"] - less
            content["training"] = {
                system: measure_training(system, few, many, minutes) for system in SYSTEMS
            }
    write_json(arguments.results, content)
    print(json.dumps([content["corpora"], content["training"]], indent=1))


if __name__ == "__main__":
    main()
