"""Tries the package on damaged input, kills and odd situations, and counts how that ends.

python -m tests.faults                      # the whole campaign, about an hour on two cores
python -m tests.faults --short              # a sample of every kind
python -m tests.faults --only KIND --seed N # one input again

"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from tqdm import tqdm

from mesm.runs.environment import describe, git_commit
from mesm.runs.files import write_beside
from tests.faults.base import Base
from tests.faults.campaign import KINDS, batches
from tests.faults.journal import Journal
from tests.faults.outcome import BAD, VERDICTS, Outcome
from tests.faults.pool import PATIENCE, run_all
from tests.faults.process import ROOT, warm

SEED = 20
KEPT = ROOT / "build/faults"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a campaign; the status is 1 where something must not have occurred."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a sample of every kind")
    parser.add_argument("--only", choices=list(KINDS), action="append", help="these kinds alone")
    parser.add_argument("--seed", type=int, help="with --only: this input alone")
    parser.add_argument("--count", type=int, default=1, help="with --seed: so many from there on")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--base", type=Path, help="folder to keep the undamaged corpora in")
    parser.add_argument("--keep", type=Path, default=KEPT, help="folder for inputs of findings")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--journal", type=Path, help="file of outcomes, to go on from")
    given = parser.parse_args(arguments)
    tqdm.monitor_interval = 0  # its thread would be lost in forks
    warm()
    place = given.base or Path(tempfile.mkdtemp(prefix="mesm-faults-base-"))
    try:
        return _run(given, Base.make(place.resolve()))
    finally:
        if given.base is None:
            shutil.rmtree(place, ignore_errors=True)


def _run(given: argparse.Namespace, base: Base) -> int:
    names = given.only or list(KINDS)
    if given.only and given.seed is not None:
        seeds = range(given.seed, given.seed + given.count)
        inputs = [[(name, seed)] for name in names for seed in seeds]
    else:
        inputs = batches(names, SEED if given.seed is None else given.seed, not given.short)
    journal = Journal(given.journal, git_commit())
    inputs = [[one for one in batch if one not in journal.done()] for batch in inputs]
    alone = bool(given.only)

    def one(kind: str, seed: int) -> Outcome:
        place = given.keep.resolve() / f"{kind}-{seed}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        tempfile.tempdir = str(place)
        outcome = KINDS[kind].make(base, seed)
        if not outcome.is_bad:
            shutil.rmtree(place, ignore_errors=True)
        return outcome

    def patience(kind: str) -> float:
        return 60.0 if KINDS[kind].group in ("readers", "ops") else PATIENCE

    bar = tqdm(total=sum(map(len, inputs)), unit="input", dynamic_ncols=True)
    with bar:
        for (kind, seed), outcome in run_all(inputs, one, given.jobs, patience):
            journal.add(kind, seed, outcome)
            if outcome.is_bad or (alone and given.seed is not None):
                again = f"python -m tests.faults --only {kind} --seed {seed}"
                bar.write(f"{outcome.verdict}: {outcome.what} | {again}", file=sys.stdout)
            bar.update()
    figures = journal.figures(names) | {
        "groups": {name: KINDS[name].group for name in names},
        "environment": describe(),
    }
    counts = {name: Counter(found) for name, found in figures["inputs"].items()}
    print(_table(counts))
    if given.json:
        write_beside(given.json, json.dumps(figures, indent=1, allow_nan=False) + "\n")
    return int(any(counts[name][verdict] for name in names for verdict in BAD))


def _table(counts: dict[str, Counter[str]]) -> str:
    lines = [f"{'':18s}{'tried':>7s}" + "".join(f"{verdict:>11s}" for verdict in VERDICTS)]
    total = sum(counts.values(), Counter[str]())
    for name, found in [*counts.items(), ("all", total)]:
        row = "".join(f"{found[verdict]:11d}" for verdict in VERDICTS)
        lines.append(f"{name:18s}{found.total():7d}{row}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
