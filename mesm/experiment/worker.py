"""The child process of one job: trains, scores, and ends when its parent does."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any


def main() -> int:
    """Do the job that stands on the first line of stdin; returns the exit status."""
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work(order)
    except Exception as error:
        from mesm.runs.files import write_beside
        from mesm.runs.folder import RunFolder

        traceback.print_exc()
        folder = RunFolder(Path(order["run"]))
        message = " ".join(f"{error}".split()) or type(error).__name__
        if not isinstance(error, (ValueError, OSError)):
            message = f"{type(error).__name__}: {message}"
        write_beside(folder.error, f"{message}\n\n{traceback.format_exc()}")
        return 1
    return 0


def work(order: dict[str, Any]) -> None:
    """Train and score.

    Args:
        order: "config" (the settings), "run" (the folder), "splits" (to be scored), "threads".
    """
    import torch

    torch.set_num_threads(order["threads"])
    from mesm.config.files import parse_config
    from mesm.evaluation.evaluate import evaluate_run
    from mesm.experiment.jobs import Job
    from mesm.runs.folder import RunFolder
    from mesm.runs.memory import keep_freed_pages
    from mesm.training.loop import train

    keep_freed_pages()
    config = parse_config(order["config"], order["run"])
    folder = RunFolder(Path(order["run"]))
    handle = os.open(folder.path, os.O_RDONLY)
    try:
        # The child of a parent that was killed a moment ago may still be writing.
        fcntl.flock(handle, fcntl.LOCK_EX)
    finally:
        os.close(handle)  # the training locks the folder itself
    train(config, folder.path)
    for split in Job(folder.path.name, config, folder, order["splits"]).unscored():
        evaluate_run(folder.path, split)


def _end_with_parent() -> None:
    """End this process when the other end of stdin is closed, as it is however the parent ends."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
