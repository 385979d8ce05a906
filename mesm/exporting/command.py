"""`mesm export`: a trained model as a file that programs without this package run."""

from __future__ import annotations

from pathlib import Path

from mesm.exporting.onnx_model import check_packages, onnx_bytes
from mesm.inference.loading import load_trained
from mesm.runs.files import owned_file, write_beside


def export(run: Path | str, out: Path) -> Path:
    """Write a trained or published FE2E or MESM as an ONNX model.

    Args:
        run: a run's folder, a folder of `mesm publish`, or "hub:USER/NAME".
        out: the file, whose name ends in .onnx; an old one is replaced when the new one is whole.

    Returns:
        The file.

    Raises:
        ValueError: another ending, a package that writes ONNX is missing, or no such model; see
            `mesm.inference.loading.load_trained`. Nothing is written.
    """
    if out.suffix != ".onnx":
        raise ValueError(f"export: wanted a file whose name ends in .onnx, got {out}")
    check_packages()
    with owned_file(out, "writing"):
        write_beside(out, onnx_bytes(load_trained(run, "cpu")))
    return out
