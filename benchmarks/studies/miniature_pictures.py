"""The pictures of docs/results: F1 and FLOPs per p, and what one MESM of the study keeps.

The MESM is the first training seed's on the first corpus of the results: none is picked.

    python -m benchmarks.studies.miniature_pictures OUT      (the folder of miniature_study)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.environment import ROOT
from benchmarks.studies.miniature_study import CLIPS, CORPORA, P_CURVE_OF, RESULTS
from mesm.analysis.explain import explain
from mesm.plots.style import FE2E_COLOUR, INK, MESM_COLOUR, new_figure, save_png, tidy

FOLDER = ROOT / "docs/results"
RUN = "experiment/runs/miniature_mesm--teacher-miniature_fe2e--seed-0"
DRAWN = ("faces.png", "spectrograms_loudest.png")


def draw_curve(results: Mapping[str, Any]) -> Figure:
    """F1 and extraction FLOPs of one model at every p, a faint line per run; FE2E dashed.

    Args:
        results: of `miniature_study`.

    Raises:
        ValueError: no run has a p-curve yet.
    """
    swept = [row for row in results["rows"] if row["row"] == P_CURVE_OF and row.get("p_curve")]
    if not swept:
        raise ValueError("the results have no p-curve; run the study first")
    runs = {(row["corpus_seed"], row["seed"]) for row in swept}
    dense = [
        100 * row["f1"]
        for row in results["rows"]
        if row["row"] == "fe2e" and (row["corpus_seed"], row["seed"]) in runs
    ]
    f1 = [[100 * point["f1"] for point in row["p_curve"]] for row in swept]
    flops = [
        [100 * point["flops"] / row["flops"]["fe2e"] for point in row["p_curve"]] for row in swept
    ]
    p = [point["p"] for point in swept[0]["p_curve"]]
    figure = new_figure(5.4, 4.8)
    above, below = figure.subplots(2, 1, sharex=True)
    _panel(above, p, f1, fmean(dense), "Average F1 (%)")
    _panel(below, p, flops, 100, "Extraction FLOPs\n(% of FE2E's)")
    above.set_ylim(bottom=min(80.0, *map(min, f1)) - 2, top=100)
    below.set_ylim(bottom=0)
    below.set_xlabel("p: share of the attention mass that is kept", fontsize=9, color=INK)
    above.legend(frameon=False, fontsize=9, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def _panel(
    axes: Axes, p: Sequence[float], runs: Sequence[Sequence[float]], dense: float, label: str
) -> None:
    for values in runs:
        axes.plot(p, values, color=MESM_COLOUR, linewidth=0.7, alpha=0.45)
    mean = [fmean(values) for values in zip(*runs, strict=True)]
    axes.plot(p, mean, color=MESM_COLOUR, marker="o", linewidth=1.6, label="MESM, one model")
    axes.axhline(dense, color=FE2E_COLOUR, linestyle=(0, (5, 3)), linewidth=1.1, label="FE2E")
    axes.set_ylabel(label, fontsize=9, color=INK)
    tidy(axes)


def publish(corpus: Path, results: Path, folder: Path) -> list[Path]:
    """Draw everything; returns the files.

    Args:
        corpus: folder of the first corpus, as `miniature_study.run_corpus` made it.
        results: of `miniature_study`.
        folder: where the pictures go.
    """
    run = corpus / RUN
    explain(run, ground_truth=corpus / "raw" / "ground_truth.jsonl")
    files = [save_png(draw_curve(json.loads(results.read_text())), folder / "p_curve.png")]
    for name in DRAWN:
        files.append(folder / name)
        # 256 colours are enough for these pictures and a third of the bytes.
        with Image.open(run / "explain" / name) as picture:
            few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        few.save(files[-1], optimize=True)
    return files


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.miniature_pictures",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("out", type=Path, help="folder of miniature_study")
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the pictures go")
    chosen = parser.parse_args(arguments)
    rows = json.loads(chosen.results.read_text())["rows"]
    first = min((row["corpus_seed"] for row in rows), default=CORPORA[0])
    corpus = chosen.out / f"clips{chosen.clips}_seed{first}"
    if not (corpus / RUN / "study.json").is_file():
        print(f"no pictures: {corpus / RUN} is not measured yet")
        return
    for file in publish(corpus, chosen.results, chosen.folder):
        print(file)


if __name__ == "__main__":
    main()
