"""The records of a training's epochs."""

from __future__ import annotations

import json
from typing import Any

from mesm.config.yaml_text import read_text
from mesm.runs.checkpoints import REMAKE, check_record
from mesm.runs.folder import RunFolder


def read_history(folder: RunFolder) -> list[dict[str, Any]]:
    """The records of metrics.jsonl, one per epoch; none where there is no such file.

    Raises:
        ValueError: a line is damaged; names it.
    """
    if not folder.metrics.exists():
        return []
    records = []
    for number, line in enumerate(read_text(folder.metrics).splitlines(), 1):
        try:
            record = json.loads(line)
            check_record(record, number)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{folder.metrics}, line {number}: damaged ({error}); {REMAKE}"
            ) from error
        records.append(record)
    return records
