"""The runs of one group of an experiment, as `mesm experiment` planned it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mesm.experiment.run import PLAN
from mesm.runs.documents import Plan
from mesm.runs.files import read_json
from mesm.runs.folder import RunFolder


def group_folders(places: Sequence[Path], group: str | None) -> list[Path]:
    """The run folders of a group; without a group the places themselves.

    Cells that are not scored yet are left out, and said so, so that an experiment under way has
    tables too.

    Args:
        places: folders of experiments.
        group: name of one of their grids.

    Raises:
        ValueError: a place is no experiment, has no such group, or none of its cells is scored.
    """
    if group is None:
        return list(places)
    folders: list[Path] = []
    for place in places:
        plan = read_json(place / PLAN, Plan)
        if plan is None:
            raise ValueError(f"{place}: no {PLAN} in it; --group is for folders of experiments")
        groups = plan["groups"]
        if group not in groups:
            raise ValueError(f"{place}: has no group {group!r}; it has {', '.join(groups)}")
        found = [place / plan["cells"][cell]["folder"] for cell in groups[group]]
        scored = [folder for folder in found if RunFolder(folder).evaluation.is_file()]
        if not scored:
            raise ValueError(f"{place}: no cell of {group!r} is scored yet; run `mesm experiment`")
        if len(scored) < len(found):
            left = len(found) - len(scored)
            print(
                f"{place}: {left} of {len(found)} cells of {group!r} are left out: not scored yet",
                file=sys.stderr,
            )
        folders += scored
    return folders
