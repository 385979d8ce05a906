"""The names of the splits, and how every `mesm` command tells an expected failure."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from tqdm import tqdm
from typer.core import TyperGroup

from mesm.runs import interrupts
from mesm.runs.storage import SCHEMES

if TYPE_CHECKING:
    from mesm.runs.cluster import Cluster

Split = Literal["train", "valid", "test"]
Corpus = Annotated[
    Path | None,
    typer.Option(help="Folder of the prepared corpus; default: where the run finds it."),
]
Mtcnn = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder of the face detector's pnet.pt, rnet.pt and onet.pt; default: those of the "
        "installed facenet-pytorch.",
    ),
]

Ray = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", help="Work on the nodes of this Ray cluster; changes no result."
    ),
]

# Commands of which some argument may lie on object storage, and what such an argument looks like
# behind an option's or a setting's name.
TAKE_URLS = ("prepare",)
_STORED = re.compile(rf"(-{{0,2}}[\w.+-]+=)?({'|'.join(SCHEMES)})://", re.IGNORECASE)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REPORT = "this is a fault of mesm, not of yours: please report it, with these lines and the command"
# Typer's own, which end a command as they are: --help, no argument at all, an answer "no".
_WRONG_USE: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "UsageError")
_OWN: tuple[type[BaseException], ...] = (typer.Exit, typer.Abort)
_OWN += (ModuleNotFoundError,)  # told by `mesm.__main__`


class Refusing(TyperGroup):
    """Commands whose expected failures end in one line; see `refusals_in_one_line`."""

    def make_context(self, *given: Any, **options: Any) -> Any:
        """Read the command line."""
        with refusals_in_one_line():
            _refuse_urls(given[1] if len(given) > 1 else options.get("args", ()))
            return super().make_context(*given, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with refusals_in_one_line(ctx):
            done = super().invoke(ctx)
            if sys.stdout is not None:  # as where the shell closed it
                sys.stdout.flush()  # a closed pipe is noticed here, not when Python ends
            return done


def _refuse_urls(arguments: Sequence[str]) -> None:
    """Refuse places on object storage, but where a command takes them."""
    command = next((word for word in arguments if not word.startswith("-")), None)
    for word in arguments:
        found = _STORED.match(word)
        if found is not None and (command not in TAKE_URLS or found[1]):
            raise ValueError(
                f"no place on object storage is taken here, got {found[2]}://...: copy it to disk; "
                f"mesm {', '.join(TAKE_URLS)} takes RAW and OUT there"
            )


@contextmanager
def on_cluster(address: str | None) -> Iterator[Cluster | None]:
    """Be connected to a Ray cluster, if one is named."""
    if address is None:
        yield None
        return
    from mesm.runs.cluster import connected

    with connected(address) as cluster:
        yield cluster


def at_least(least: int) -> Callable[[int | None], int | None]:
    """Make an option refuse smaller numbers."""

    def check(value: int | None) -> int | None:
        if value is not None and value < least:
            raise typer.BadParameter(f"wanted at least {least}, got {value}")
        return value

    return check


def step(value: float) -> float:
    """Refuse an option's value that is not from 0 to 1."""
    if not 0 <= value <= 1:  # NaN neither
        raise typer.BadParameter(f"wanted seconds from 0 to 1, got {value:g}")
    return value


def share(value: float | None) -> float | None:
    """Refuse an option's value that is not above 0 and at most 1."""
    if value is not None and not 0 < value <= 1:
        raise typer.BadParameter(f"wanted a number above 0, at most 1, got {value:g}")
    return value


@contextmanager
def refusals_in_one_line(ctx: typer.Context | None = None) -> Iterator[None]:
    """End a command that failed.

    Bad input is the user's to mend, so it is told in a sentence, with status 2. A command that is
    interrupted says how to go on, with status 130. Where the reader of a pipe has gone, nobody
    needs to be told. Every other exception is a bug: it keeps its traceback, and a line asks to
    report it, with status 1.
    """
    try:
        yield
    except _OWN:
        raise
    except _WRONG_USE as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        _tell(_wrong_use(error))
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        interrupts.ignore()
        command = None if ctx is None else ctx.invoked_subcommand
        _tell(f"stopped; {interrupts.how_to_go_on(command)}")
        raise typer.Exit(interrupts.STATUS) from error
    except BrokenPipeError as error:
        # Python would write what is left of the output, and complain again.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0 if _resumed(ctx) is None else 141) from error
    except SystemExit as error:
        # The library that shows help ends the process itself where nobody reads.
        if isinstance(error.__context__, BrokenPipeError):
            raise typer.Exit(0) from error
        raise
    except Exception as error:
        _close_bars()
        if getattr(error, "told_by_another", False):  # of the same training, see `mesm.training`
            raise typer.Exit(2) from error
        message = expected(error)
        if message is None:
            traceback.print_exc()
            _tell(REPORT)
            raise typer.Exit(1) from error
        _tell(message)
        raise typer.Exit(2) from error


def expected(error: Exception) -> str | None:
    """The sentence about a failure that has its cause outside; None: the error is a bug."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return f"{error.title}: {sentence(error)}"
    if isinstance(error, OSError):
        return _about_system(error)
    if isinstance(error, ValueError | FloatingPointError):
        return " ".join(str(error).split()) if "\n" in str(error) else str(error)
    if isinstance(error, BrokenProcessPool):
        return "a worker process died, of too little memory or a damaged file; run the same again"
    text = str(error)
    if _lost_another(error):
        return (
            "another process of this training has ended, or cannot be reached any more, and says "
            "why where it runs; the same command goes on where it was"
        )
    if isinstance(error, RuntimeError) and text.startswith("Symlink loop"):  # of Path.resolve
        return f"{text}: a link leads to itself; delete it"
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in text
    ):
        what = text.splitlines()[0].rpartition("] ")[2] if text else "an array is too large"
        return f"not enough memory: {what}; take a smaller model, batch or number of workers"
    return None


def _lost_another(error: Exception) -> bool:
    if type(error).__name__ in ("DistBackendError", "DistNetworkError", "DistStoreError"):
        return True  # of torch.distributed, which takes seconds to import
    return isinstance(error, RuntimeError) and "/gloo/transport/" in str(error)


def _wrong_use(error: Any) -> str:
    message = " ".join(error.format_message().split()).replace("Value error, ", "").rstrip(".")
    where = f"; see {error.ctx.command_path} --help" if error.ctx is not None else ""
    return f"{message[:1].lower()}{message[1:]}{where}"


def sentence(error: Any) -> str:
    """Say how pydantic found values to be wrong, as "KEY: wanted ..., got ..." of each value."""
    found = []
    for one in error.errors(include_url=False):
        key = ".".join(map(str, one["loc"])) or "the whole"
        value = repr(one["input"])
        shown = value if len(value) <= 60 else f"{value[:57]}..."
        found.append(f"{key}: {one['msg'][:1].lower()}{one['msg'][1:]}, got {shown}")
    return "; ".join(found)


def _about_system(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename is not None else ""
    if error.errno in _FULL:
        return f"{where}the disk is full; make room, then run the same command again"
    if error.errno is None or error.strerror is None or not where:
        return str(error) or type(error).__name__
    return f"{where}{error.strerror[:1].lower()}{error.strerror[1:]}"


def _resumed(ctx: typer.Context | None) -> str | None:
    """The command's name if the command takes up its own work."""
    name = None if ctx is None else ctx.invoked_subcommand
    return name if name in interrupts.RESUMING else None


def _close_bars() -> None:
    """End all progress bars, which would be drawn again after a message, or around it."""
    for bar in list(getattr(tqdm, "_instances", ())):
        with suppress(Exception):
            bar.close()


def _tell(message: str) -> None:
    _close_bars()
    # Names of files, and what others wrote into them, may steer a terminal, or be no text at all.
    shown = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in message)
    typer.secho(f"mesm: {shown}", fg=typer.colors.RED, err=True)
