"""`python -m mesm` is the `mesm` command."""

from __future__ import annotations

import sys

OWN = ("mesm", "mesm_ops")


def main() -> None:
    """Run the command; a missing package ends it with how to install the experiment's packages."""
    try:
        from mesm.cli import app

        app()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package in OWN:
            raise
        sys.exit(
            f"mesm: the package {package} is missing; install what the experiment needs: "
            "pip install -e '.[experiment]'"
        )


if __name__ == "__main__":
    main()
