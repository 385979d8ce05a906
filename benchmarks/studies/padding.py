"""Whether it matters what a clip's last chunk of sound is filled up with.

A spectrogram is cut into chunks of 32 columns (0.4 s), and the last chunk is filled up. The same
trainings on one miniature corpus, with two fillings:

- mean: 0 after the normalisation, the training split's mean, which is what `mesm` does;
- silence: the logarithm of the least power, as digital silence has it.

FE2E hears the sound alone, MESM asks the sound by the text. Scores are the average F1, at a
threshold of 0.5, of the clips that were not trained on. For MESM also: of the last chunks that are
filled up, the share of sites kept in the padding over the share kept in the sound beside it.

    python -m benchmarks.studies.padding runs/padding     # about half an hour on 2 cores

goes on where it was stopped and writes benchmarks/results/padding.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.environment import ROOT, environment
from benchmarks.report import write_json
from mesm.analysis.attention_trace import trace_attention
from mesm.config.files import load_config
from mesm.corpora.miniature import generate
from mesm.corpora.prepare import PrepareOptions, prepare
from mesm.data import clips as clips_module
from mesm.evaluation.metrics import Thresholds, f1
from mesm.evaluation.run import Run
from mesm.inputs.spectrograms import CHUNK_COLUMNS, POWER_FLOOR, chunk
from mesm.training.loop import train

RESULTS = ROOT / "benchmarks/results/padding.json"
CLIPS, CORPUS_SEED = 480, 7
SEEDS = (0, 1, 2)
HELD_OUT = ("valid", "test")
EPOCHS = 8
SYSTEMS = {
    "fe2e": ("model.modalities=a",),
    # With log1p sound the mean and silence are one.
    "mesm": ("model.modalities=ta", "model.sound=log", f"training.p_warmup_epochs={EPOCHS // 2}"),
}

Fill = Callable[..., Tensor]


def _silence(spectrogram: Any, mean: float, std: float, *options: Any) -> Tensor:
    missing = -spectrogram.shape[1] % CHUNK_COLUMNS
    level = float(np.log(POWER_FLOOR))
    filled = np.pad(np.asarray(spectrogram), ((0, 0), (0, missing)), constant_values=level)
    return chunk(filled, mean, std, *options)


FILLS: dict[str, Fill] = {"mean": chunk, "silence": _silence}


@contextmanager
def filled(fill: str) -> Iterator[None]:
    """Fill last chunks up in another way for a while."""
    ours = clips_module.chunk
    clips_module.chunk = FILLS[fill]  # type: ignore[assignment]
    try:
        yield
    finally:
        clips_module.chunk = ours


def measure(out: Path, system: str, fill: str, seed: int) -> dict[str, Any]:
    """Train once and score what was not trained on."""
    run = out / "runs" / f"{system}-{fill}-{seed}"
    file = run / "figures.json"
    if not file.is_file():
        settings = [f"corpus={out / 'prepared'}", f"training.seed={seed}"]
        settings += [f"training.epochs={EPOCHS}", f"training.patience={EPOCHS}"]
        config = load_config(f"miniature_{system}", [*settings, *SYSTEMS[system]])
        with filled(fill):
            train(config, run)
            opened = Run.open(run)
            pairs = [opened.predict(split) for split in HELD_OUT]
            logits, labels = (torch.cat(part) for part in zip(*pairs, strict=True))
            decisions = Thresholds.half(labels.shape[1]).decide(logits)
            figures: dict[str, Any] = {
                "system": system,
                "fill": fill,
                "seed": seed,
                "clips": len(labels),
                "f1": float(f1(decisions, labels.bool()).mean()),
            }
            if system == "mesm":
                figures["kept_in_padding"] = kept_in_padding(Run.open_sparse(run))
        write_json(file, figures)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def kept_in_padding(run: Run) -> list[float]:
    """Per block: the share of sites kept in padding over the share kept in the sound beside it."""
    shares: list[list[tuple[float, float]]] = []
    for split in HELD_OUT:
        for clip in run.corpus.split(split):
            real = clip.spectrogram.shape[1] % CHUNK_COLUMNS
            blocks = trace_attention(run.sparse, run.batch_of(clip.clip_id))["audio"]
            shares = shares or [[] for _ in blocks]
            for kept, found in zip((block.kept[-1] for block in blocks), shares, strict=True):
                cell = CHUNK_COLUMNS // kept.shape[1]
                # A cell that is partly padding counts as neither.
                heard, empty = kept[:, : real // cell], kept[:, -(-real // cell) :]
                if real and heard.size and empty.size:
                    found.append((float(heard.mean()), float(empty.mean())))
    ratios = []
    for found in shares:
        heard, empty = (statistics.fmean(part) for part in zip(*found, strict=True))
        ratios.append(empty / heard if heard else float("nan"))
    return ratios


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Per system and filling: F1, and by how much it is above that of the mean, seed by seed."""
    summary: dict[str, Any] = {}
    for system in SYSTEMS:
        scores = {
            fill: {
                row["seed"]: row["f1"]
                for row in rows
                if (row["system"], row["fill"]) == (system, fill)
            }
            for fill in FILLS
        }
        summary[system] = {}
        for fill, by_seed in scores.items():
            above = [by_seed[seed] - scores["mean"][seed] for seed in by_seed]
            summary[system][fill] = {
                "f1": statistics.fmean(by_seed.values()),
                "above_mean": statistics.fmean(above),
                "deviation": statistics.stdev(above) if len(above) > 1 else None,
            }
    return summary


def main() -> None:
    """Train what is missing, print the scores, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.padding")
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    raw, prepared = given.out / "raw", given.out / "prepared"
    if not (raw / "ground_truth.jsonl").is_file():
        generate(raw, clips=CLIPS, seed=CORPUS_SEED)
    prepare("iemocap", raw, prepared, PrepareOptions(seed=CORPUS_SEED, min_face_size=60))
    rows = []
    for system in SYSTEMS:
        for seed in SEEDS:
            for fill in FILLS:
                rows.append(measure(given.out, system, fill, seed))
                print(rows[-1], flush=True)
    summary = summarise(rows)
    print(json.dumps(summary, indent=1))
    corpus = {"clips": CLIPS, "seed": CORPUS_SEED, "epochs": EPOCHS}
    write_json(
        RESULTS,
        {"environment": environment(), "corpus": corpus, "summary": summary, "rows": rows},
    )


if __name__ == "__main__":
    main()
