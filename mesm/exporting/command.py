"""`mesm export`: a trained model as a file that programs without this package run."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from tqdm import tqdm

from mesm.evaluation.run import Run
from mesm.exporting.onnx_model import check_packages, onnx_bytes
from mesm.exporting.package import (
    check_compiler,
    check_device,
    check_kernels,
    package_bytes,
)
from mesm.exporting.traced import Traced
from mesm.inference.loading import DEMO, Trained, load_trained
from mesm.publishing.contents import is_published
from mesm.runs.files import owned_file, write_beside

# By this the inputs of a clip are known for an export's, which another may replace.
_WRITER = {"writer": "mesm export"}


def export(
    run: Path | str,
    out: Path,
    *,
    device: str = "cpu",
    clip: str | None = None,
    corpus: Path | None = None,
) -> list[Path]:
    """Write a trained or published FE2E or MESM as an ONNX model or an AOTInductor package.

    Args:
        run: a run's folder, a folder of `mesm publish`, or "hub:USER/NAME".
        out: the file, whose name ends in .onnx or .pt2; an old one is replaced when the new one is
            whole.
        device: where the model will run; "cpu".
        clip: the name of a clip of the run's corpus, whose inputs are written beside as
            safetensors.
        corpus: where the run's corpus lies; None: where the run finds it.

    Returns:
        The files.

    Raises:
        ValueError: another ending or device, a package or compiler that is needed is missing, no
            such model or clip (see `mesm.inference.loading.load_trained`), or the clip's inputs
            would replace another file, as a run's weights. Nothing is written.
    """
    if out.suffix not in (".onnx", ".pt2"):
        raise ValueError(f"export: wanted a file whose name ends in .onnx or .pt2, got {out}")
    check_device(device)
    beside = out.with_suffix(".safetensors")
    if clip is not None:
        _check_is_run(run)
        _check_beside(beside)
    if out.suffix == ".onnx":
        check_packages()
    else:
        check_compiler()
    with owned_file(out, "writing"):
        trained = load_trained(run, "cpu")
        if out.suffix == ".pt2":
            check_kernels(trained)
        inputs = None if clip is None else _inputs(run, trained, clip, corpus)
        # Only after all refusals, which are one line: torch does not say how far it is.
        with tqdm(desc="export: a minute or more", bar_format="{desc}", leave=False):
            content = onnx_bytes(trained) if out.suffix == ".onnx" else package_bytes(trained)
        write_beside(out, content)
        if inputs is None:
            return [out]
        write_beside(beside, inputs)
        return [out, beside]


def _check_is_run(place: Path | str) -> None:
    """Refuse, with a ValueError, a published model, which has no corpus to take a clip from."""
    if str(place) == DEMO or str(place).startswith("hub:") or is_published(Path(place)):
        raise ValueError(
            f"export: --clip takes a clip of a run's corpus, and {place} is a published model; "
            "export the run itself, or leave --clip out"
        )


def _inputs(run: Path | str, trained: Trained, clip: str, corpus: Path | None) -> bytes:
    batch = Run.open(Path(run), device="cpu", corpus=corpus).batch_of(clip)
    tensors = {name: getattr(batch, name).contiguous() for name in Traced(trained).inputs}
    return save(tensors, metadata=_WRITER)


def _check_beside(file: Path) -> None:
    """Refuse, with a ValueError, to replace a file that no export wrote."""
    if not file.exists():
        return
    try:
        with safe_open(file, "pt") as opened:
            ours = opened.metadata() == _WRITER
    except (SafetensorError, OSError):
        ours = False
    if not ours:
        raise ValueError(
            f"{file}: --clip would write the clip's inputs there, and it is no file that "
            "`mesm export` wrote; name OUT otherwise, or in another folder"
        )
