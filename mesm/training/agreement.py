"""An agreement of all processes of a training: launcher, folder, settings, and how it ends."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

# A file of another machine may take so long to be seen on a network's file system.
SECONDS_TO_SEE = 30.0
_AGAIN = 0.05

# Requests of `accelerate launch`, or of its config file, that would have silently another
# effect, or none: the variable, its harmless values, the option, and what to do instead.
_LAUNCHER = (
    (
        *("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", ("", "1"), "--gradient_accumulation_steps"),
        "a step has training.batch_size clips of every process",
    ),
    (
        *("ACCELERATE_DYNAMO_BACKEND", ("", "no"), "--dynamo_backend"),
        "mesm train compiles no model",
    ),
    *(
        (
            *(f"ACCELERATE_USE_{name}", ("", "false", "0"), option),
            "every process of mesm train has the whole model",
        )
        for name, option in (
            ("DEEPSPEED", "--use_deepspeed"),
            ("FSDP", "--use_fsdp"),
            ("MEGATRON_LM", "--use_megatron_lm"),
            ("PARALLELISM_CONFIG", "--use_parallelism_config"),
        )
    ),
)


def check_launcher(mixed_precision: str) -> None:
    """Refuse, with a ValueError, what a launcher asks for and a training would not do.

    Args:
        mixed_precision: of the settings.
    """
    for name, harmless, option, instead in _LAUNCHER:
        value = os.environ.get(name, "")
        if value.lower() not in harmless:
            raise ValueError(
                f"accelerate launch {option} ({value}): {instead}; leave the option out of the "
                "command, and of accelerate's config file"
            )
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "").lower()
    if asked not in ("", "no", mixed_precision):
        raise ValueError(
            f"accelerate launch --mixed_precision {asked}: the settings decide, and say "
            f"{mixed_precision}; add training.mixed_precision={asked}, or leave the option out"
        )


def mark_told(error: Exception, accelerator: Accelerator) -> Exception:
    """Mark a failure that every process meets alike, so that the first alone tells of it."""
    if not accelerator.is_main_process:
        error.told_by_another = True  # type: ignore[attr-defined]
    return error


@contextmanager
def together(accelerator: Accelerator) -> Iterator[None]:
    """Let all processes end a block with an error if one of them does, lest others wait.

    Raises:
        Exception: the first process's error, or if it has none another's, with its name.
    """
    if accelerator.num_processes == 1:
        yield
        return
    failure: Exception | None = None
    try:
        yield
    except (ValueError, OSError) as error:
        failure = error
    found = gather_object([(accelerator.process_index, socket.gethostname(), failure)])
    for rank, host, refusal in found:
        if refusal is not None:
            told = refusal if rank == 0 else ValueError(f"process {rank} on {host}: {refusal}")
            raise mark_told(told, accelerator) from failure


def check_shared(folder: Path, accelerator: Accelerator) -> None:
    """Refuse, with a ValueError, a folder that is not one and the same for all processes.

    Args:
        folder: is there for the first process.
        accelerator: of the processes.
    """
    if accelerator.num_processes == 1:
        return
    (name,) = broadcast_object_list([f".{secrets.token_hex(8)}.partial"])
    mark = folder / name
    with together(accelerator):
        if accelerator.is_main_process:
            mark.touch()
    try:
        with together(accelerator):
            until = time.monotonic() + SECONDS_TO_SEE
            while not mark.exists():
                if time.monotonic() > until:
                    raise ValueError(
                        f"{folder.absolute()} is another folder here than for process 0; name one "
                        "for the run that lies on a file system which all machines share"
                    )
                time.sleep(_AGAIN)
    finally:
        if accelerator.is_main_process:
            mark.unlink(missing_ok=True)
    accelerator.wait_for_everyone()


def check_alike(facts: Mapping[str, Any], accelerator: Accelerator) -> None:
    """Refuse, with a ValueError, processes that were started on different things.

    Args:
        facts: by what they are of, as "settings"; of the same names in all processes.
        accelerator: of the processes.
    """
    if accelerator.num_processes == 1:
        return
    (wanted,) = broadcast_object_list([dict(facts)])
    with together(accelerator):
        for name, value in facts.items():
            if value != wanted[name]:
                raise ValueError(
                    f"has {_difference(name, value, wanted[name])}; start all processes with the "
                    "same command, on the same corpus"
                )


def _difference(name: str, here: Any, first: Any) -> str:
    if isinstance(here, dict) and isinstance(first, dict):
        keys = [key for key in {**first, **here} if here.get(key) != first.get(key)]
        return f"other {name}: " + ", ".join(
            f"{key} ({here.get(key)}, of process 0 {first.get(key)})" for key in keys
        )
    return f"another {name} ({here}, of process 0 {first})"
