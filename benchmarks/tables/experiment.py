"""The experiment's costs: preparing and training scaled to real corpora, acoustic features."""

from __future__ import annotations

from benchmarks.report import markdown
from benchmarks.shapes import LONG_BATCHES
from benchmarks.tables.registry import Row, one, results, table
from mesm.corpora.paper_figures import IEMOCAP_SPLITS, MOSEI_SPLITS

COST = "experiment-cost-2cores"
GPU = "h100-2026-11-27"
ACOUSTICS = "acoustic-features-epyc-2cores"
TITLES = {
    "iemocap": "IEMOCAP",
    "mosei": "CMU-MOSEI",
    "meld": "MELD",
    "ravdess": "RAVDESS, speech",
    "crema_d": "CREMA-D",
}
MOSEI_CLIPS = 20477  # of the published lists; clips have several emotions or none
# Clips, and seconds of one on average, as published or as their users report.
OTHERS = {"meld": (13708, 3.59), "ravdess": (1440, 3.7), "crema_d": (7442, 2.54)}
CORES = (2, 16)
CLIP_SECONDS = 6  # of LONG_BATCHES


def clips_and_minutes() -> dict[str, tuple[int, float]]:
    """Clips of each corpus and how many minutes they last, the first two as the paper has them."""
    found = {}
    for corpus, splits in (("iemocap", IEMOCAP_SPLITS), ("mosei", MOSEI_SPLITS)):
        rows = [(row.train + row.valid + row.test, row) for row in splits.values()]
        clips = sum(count for count, _ in rows)
        # Words and seconds stand under each other's name in the paper's Table 2.
        seconds = sum(
            count * (row.words if corpus == "mosei" else row.seconds) for count, row in rows
        )
        whole = MOSEI_CLIPS if corpus == "mosei" else clips
        found[corpus] = (whole, whole * seconds / clips / 60)
    return found | {name: (clips, clips * each / 60) for name, (clips, each) in OTHERS.items()}


@table("experiment-cost")
def cost() -> str:
    """Hours of preparing and of an epoch on some numbers of cores, and disk, per corpus."""
    content, lines = results(COST), []
    steps = gpu_seconds_per_minute()
    for corpus, (clips, minutes) in clips_and_minutes().items():
        measured = content["corpora"][corpus]
        scale = minutes / measured["minutes"]
        prepared = prepare_seconds(measured) * scale / 3600
        epochs = [
            content["training"][system]["epoch_cpu_s_per_minute"] * minutes / 3600
            for system in ("fe2e", "mesm")
        ]
        hours = minutes / 60
        lines.append(
            (
                f"{TITLES[corpus]}, {clips} clips, {hours:.{int(hours < 10)}f} h",
                f"{_on_cores(prepared)} ({measured['pictures']})",
                f"{measured['prepared_bytes'] * scale / 1e9:.1f} GB",
                *map(_on_cores, epochs),
                " / ".join(f"{seconds * minutes / 60:.2g}" for seconds in steps),
            )
        )
    cores = " / ".join(map(str, CORES))
    head = (f"hours on {cores} cores", "`prepare`", "its files", "epoch, FE2E", "epoch, MESM")
    return markdown((*head, "minutes on one H100: epoch, FE2E / MESM"), lines)


def prepare_seconds(corpus: Row) -> float:
    """Processor seconds of preparing a corpus: its units', or where only that is known, all."""
    return float(corpus.get("units_cpu_s", corpus["prepare_cpu_s"]))


@table("experiment-prepare")
def prepare() -> str:
    """Which part of the command the figures of preparing are of, in words."""
    corpora = results(COST)["corpora"].values()
    if all("units_cpu_s" in found for found in corpora):
        return "`prepare` without the command's own start, some seconds whatever the corpus"
    return (
        "`prepare` by the whole command for a minute of clips, most of it its own start, so that "
        "its hours are too high"
    )


def gpu_seconds_per_minute() -> tuple[float, float]:
    """Seconds that the training steps of a minute of clips take one H100, FE2E's and MESM's."""
    batch = LONG_BATCHES[0]
    row = one(
        results(GPU)["rows"], row=f"eager MESM training step {batch.count} clips p=0.5 bfloat16"
    )
    batches = 60 / CLIP_SECONDS / batch.count
    return row["rival_ms"] * batches / 1e3, row["ms"] * batches / 1e3


def _on_cores(core_hours: float) -> str:
    return " / ".join(f"{core_hours / cores:.2g}" for cores in CORES)


@table("experiment-run")
def run() -> str:
    """The size of a run's folder in words."""
    sizes = [found["run_bytes"] / 1e9 for found in results(COST)["training"].values()]
    return f"{max(sizes):.1f} GB"


@table("experiment-machine")
def machine() -> str:
    """The machine and the amount of the measurement."""
    content = results(COST)
    corpora = content["corpora"].values()
    minutes = sum(found["minutes"] for found in corpora)
    clips = sum(found["clips"] for found in corpora)
    where = content.get("preparing", content)
    return (
        f"{clips} clips of {minutes:.1f} minutes together on {where['machine']['cpu']}, under a "
        f"load of {where['load_before']:.0f}"
    )


@table("acoustic-features")
def acoustics() -> str:
    """CPU time per stage of the acoustic columns, and how many times faster than real time."""
    clips = results(ACOUSTICS)["clips"]
    head = ("CPU ms, one thread", *(f"{clip['seconds']:g} s of sound" for clip in clips))
    lines = [
        (name, *(f"{clip['cpu_ms'][name]:.1f}" for clip in clips)) for name in clips[0]["cpu_ms"]
    ]
    lines.append(("**times real time**", *(f"**{clip['times_real_time']:.0f}**" for clip in clips)))
    return markdown(head, lines)


@table("acoustic-features-least")
def least_acoustics() -> str:
    """How many times faster than real time at least, in words."""
    slowest = min(clip["times_real_time"] for clip in results(ACOUSTICS)["clips"])
    return f"{slowest:.0f} times as fast as real time or faster on one core"
