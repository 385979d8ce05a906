"""Compares what is computed from real recordings with what others' own programs gave.

python -m tests.real FOLDER    # the folder that fetch.sh filled; or: make real
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.real.acoustics import check_folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every check; the status is 1 where one is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.real", description=__doc__)
    parser.add_argument("folder", type=Path, help="the recordings")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    wrong = 0
    for check in check_folder(given.folder):
        print(check.line(), flush=True)
        wrong += not check.right
    print(f"{wrong} wrong" if wrong else "all as the others have it")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
