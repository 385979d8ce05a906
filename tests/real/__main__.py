"""Tries real recordings: against what others' own programs gave, and through every command.

python -m tests.real FOLDER    # the folder that fetch.sh filled; or: make real
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.real.acoustics import check_folder
from tests.real.corpus import check_corpus
from tests.real.faces import check_faces


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every check; the status is 1 where one is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.real", description=__doc__)
    parser.add_argument("folder", type=Path, help="the recordings")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    began = time.perf_counter()
    steps = {
        "acoustic columns, against DisVoice": lambda: check_folder(given.folder),
        "faces, against facenet-pytorch": lambda: check_faces(given.folder),
        "every command": lambda: check_corpus(given.folder, given.folder / "made"),
    }
    wrong = 0
    for number, (name, checks) in enumerate(steps.items(), 1):
        print(f"\n[{number}/{len(steps)}] {name}", flush=True)
        for check in checks():
            print(check.line(), flush=True)
            wrong += not check.right
        print(f"{time.perf_counter() - began:.0f} s so far, {cpu_seconds():.0f} s of CPU time")
    print(f"\n{wrong} wrong" if wrong else "\nall as it should be")
    return int(wrong > 0)


def cpu_seconds() -> float:
    """CPU time of this process and of those that it waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


if __name__ == "__main__":
    sys.exit(main())
