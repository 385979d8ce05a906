"""`python -m mesm` is the `mesm` command."""

from __future__ import annotations

import gc
import os
import sys

from mesm.runs import extras, interrupts

OWN = ("mesm", "mesm_ops")

# Imports make a million objects that stay. At Python's own threshold of 700, looking among them
# for garbage takes a fifth of a short command's time.
GARBAGE_THRESHOLD = 5_000


def main() -> None:
    """Run the command; a missing package ends it with how to install the experiment's packages."""
    gc.set_threshold(GARBAGE_THRESHOLD)
    interrupts.listen()
    try:
        try:
            _run()
        finally:
            interrupts.ignore()
    except KeyboardInterrupt:
        interrupts.end()


def _run() -> None:
    _read_arguments_as_utf8()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no "ü" shows an escape instead.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        from mesm.cli import app

        app()
    except ValueError as error:  # the kernels refuse MESM_OPS_CPU as they are imported
        print(f"mesm: {error}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package in OWN:
            raise
        sys.exit(f"mesm: {extras.missing(error)}")


def _read_arguments_as_utf8() -> None:
    """Start again in UTF-8 mode where the locale cannot read an argument."""
    bad = [argument for argument in sys.argv if not _is_text(argument)]
    if not bad:
        return
    if sys.flags.utf8_mode:
        sys.exit(f"mesm: the argument {bad[0]!a} is not UTF-8; name it in UTF-8")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-X", "utf8", "-m", "mesm", *sys.argv[1:]])


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:  # bytes that the locale has no letter for
        return False
    return True


if __name__ == "__main__":
    main()
