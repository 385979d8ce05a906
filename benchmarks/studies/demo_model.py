"""The model that comes with the library: a MESM of the study, published into mesm/demo_model.

It is the first training seed's on the first corpus of the study: none is picked.

    python -m benchmarks.studies.demo_model OUT      (the folder of miniature_study)
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.studies.miniature_pictures import RUN
from benchmarks.studies.miniature_study import CLIPS, CORPORA
from mesm.inference.loading import DEMO_MODEL
from mesm.publishing.publish import publish

NAME = "mesm-demo"
# It comes with every clone and every installation.
MOST_BYTES = 6_000_000


def make(run: Path, folder: Path) -> int:
    """Publish a run into a folder.

    Args:
        run: trained and scored.
        folder: new, or of a model that was published before.

    Returns:
        The bytes of its files.

    Raises:
        ValueError: the run cannot be published.
    """
    publish(run, folder, name=NAME)
    return sum(file.stat().st_size for file in folder.iterdir())


def main(arguments: Sequence[str] | None = None) -> None:
    """Publish; fails where the folder has grown too large."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.demo_model",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("out", type=Path, help="folder of miniature_study")
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--folder", type=Path, default=DEMO_MODEL, help="where the model goes")
    chosen = parser.parse_args(arguments)
    size = make(chosen.out / f"clips{chosen.clips}_seed{CORPORA[0]}" / RUN, chosen.folder)
    print(f"{chosen.folder}: {size:,} bytes")
    if size >= MOST_BYTES:
        raise SystemExit(f"error: wanted fewer than {MOST_BYTES:,}; publish a narrower model")


if __name__ == "__main__":
    main()
