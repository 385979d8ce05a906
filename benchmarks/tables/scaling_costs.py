"""The costs of 1,000 hours of video, whatever the number of machines."""

from __future__ import annotations

from benchmarks.report import markdown
from benchmarks.tables.amounts import (
    COST,
    GIGABYTE,
    MEGABYTE,
    RATES,
    SCALING,
    in_bytes,
    in_minutes,
    machines,
    simulated_hours,
)
from benchmarks.tables.experiment import TITLES, prepare_seconds
from benchmarks.tables.registry import one, results, table

SPEED, GPU = "predict-speed", "h100-2026-11-27"
MEGABITS = (1.0, 2.5, 5.0)
CLIP_S = 6  # of the clips that were timed on the GPU


@table("scaling-gradients")
def gradients() -> str:
    """Bytes and time of an exchange of gradients, in words."""
    content = results(SCALING)
    amount = 2 * 4 * content["parameters"]
    link = content["assumed"]["gpu_link"]
    return (
        f"{in_bytes(amount)} per machine of a MESM of the paper's size in float32, "
        f"{1000 * amount / link:.0f} ms at {link / GIGABYTE:g} GB/s (assumed)"
    )


@table("scaling-clips")
def clips() -> str:
    """The head's time for units of one clip, in words."""
    content = results(SCALING)
    assumed = content["assumed"]
    count = 3600 * assumed["hours"] / assumed["clip_s"]
    pool = in_minutes(count * results(RATES)["pool"]["head_cpu_s"])
    head = in_minutes(count / assumed["head_tasks"])
    return (
        f"{count:,.0f} units for {assumed['hours']:,.0f} hours, which take a head of "
        f"{assumed['head_tasks']:g} a second {head} minutes to hand out, and the pool of one "
        f"machine {pool}; several to a unit would be better"
    )


@table("scaling-cores")
def cores() -> str:
    """Core hours of every step, per picture size where pictures matter."""
    hours = simulated_hours()
    content, measured = results(COST), results(SCALING)["measured"]
    features = results(RATES)["features"]
    heard = sum(unit["seconds"] for unit in features)
    rows = [
        (
            f"`prepare`, pictures of {found['pictures']}",
            hours * prepare_seconds(found) / (found["minutes"] * 60),
            f"`{COST}`",
        )
        for found in content["corpora"].values()
    ]
    rows = list({name: (name, *rest) for name, *rest in rows}.values())
    rows += [
        (
            f"`prepare`, pictures of {results(RATES)['pictures']}, two side by side",
            hours * measured["core_s"] / 3600,
            f"`{RATES}`",
        ),
        (
            "`features`",
            hours * sum(unit["cpu_s"] for unit in features) / heard,
            f"`{RATES}`",
        ),
        (
            "`predict`, the demo model",
            hours * results(SPEED)["long"]["cpu_s"] / results(SPEED)["long"]["seconds"],
            f"`{SPEED}`",
        ),
    ]
    rows += [
        (
            f"an epoch of {title} on CPUs, ALBERT-base's size",
            hours * content["training"][system]["epoch_cpu_s_per_minute"] / 60,
            f"`{COST}`",
        )
        for system, title in (("fe2e", "FE2E"), ("mesm", "MESM"))
    ]
    return markdown(
        (f"{hours:,.0f} hours of clips", "core hours", "from"),
        [(name, f"{value:,.0f}", source) for name, value, source in rows],
    )


@table("scaling-gpu")
def gpu() -> str:
    """Hours of one GPU, by the steps that were timed."""
    rows = [row for row in results(GPU)["rows"] if "ms" in row]
    clips = simulated_hours() * 3600 / CLIP_S
    lines = []
    for what, shape, title in (
        ("MESM inference", "64 clips", "inference, in CUDA graphs"),
        ("eager MESM inference", "64 clips", "inference, called from Python"),
        ("MESM training step", "8 clips", "an epoch of training, in CUDA graphs"),
        ("eager MESM training step", "8 clips", "an epoch of training, called from Python"),
    ):
        row = one(rows, what=what, shape=shape, p=0.5)
        count = int(shape.split()[0])
        lines.append(
            (
                title,
                f"{row['ms']:.1f} ms",
                *(f"{clips / count * row[name] / 3.6e6:.2f} h" for name in ("ms", "rival_ms")),
            )
        )
    head = ("one H100, p = 0.5, bfloat16", "a step, measured", "MESM, estimate", "FE2E, estimate")
    return markdown(head, lines)


@table("scaling-storage")
def storage() -> str:
    """Bytes on disk."""
    hours, content = simulated_hours(), results(COST)
    written = hours * results(SCALING)["measured"]["write"]
    features = results(RATES)["features"]
    lines = [
        (
            f"recordings at {megabits:g} Mbit/s",
            in_bytes(hours * 3600 * megabits * 1e6 / 8),
            "the bitrate is assumed",
        )
        for megabits in MEGABITS
    ]
    prepared = [
        hours * 60 * found["prepared_bytes"] / found["minutes"]
        for found in content["corpora"].values()
    ]
    feature_bytes = sum(unit["write"] for unit in features)
    feature_hours = sum(unit["seconds"] for unit in features) / 3600
    lines += [
        (
            f"prepared, as {', '.join(TITLES[name] for name in content['corpora'])}",
            f"{in_bytes(min(prepared))} to {in_bytes(max(prepared))}",
            f"`{COST}`",
        ),
        ("part files, until the end beside the prepared ones", in_bytes(written), f"`{RATES}`"),
        ("features", in_bytes(hours * feature_bytes / feature_hours), f"`{RATES}`"),
        (
            "a training's folder, whatever the hours",
            in_bytes(max(found["run_bytes"] for found in content["training"].values())),
            f"`{COST}`",
        ),
    ]
    return markdown((f"{hours:,.0f} hours of clips", "on disk", "from"), lines)


@table("scaling-network")
def network() -> str:
    """Bytes per second that workers ask for while none of them waits."""
    content = results(SCALING)
    measured, assumed = content["measured"], content["assumed"]
    read = assumed["megabits"] * 1e6 / 8 * 3600
    per_core = (read + measured["write"]) / measured["core_s"]
    lines = [
        (
            "a unit reads / writes",
            in_bytes(_unit() * read) + " / " + in_bytes(_unit() * measured["write"]),
        ),
        ("a core, read and written", f"{per_core / MEGABYTE:.2f} MB/s"),
    ]
    lines += [
        (
            f"{nodes:,} machines of {assumed['cores']} cores",
            f"{nodes * assumed['cores'] * per_core / GIGABYTE:.2f} GB/s, "
            f"{nodes * assumed['cores'] / (_unit() * measured['core_s']):,.0f} units/s",
        )
        for nodes in machines(content)
    ]
    return markdown((f"at {assumed['megabits']:g} Mbit/s", "network"), lines)


def _unit() -> float:
    return float(results(SCALING)["assumed"]["minutes"]) / 60
