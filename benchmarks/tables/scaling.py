"""The costs of 1,000 hours of video, and the simulation of many machines."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.report import markdown
from benchmarks.tables.experiment import TITLES
from benchmarks.tables.registry import Row, one, results, table

SCALING, RATES, CHECK = "scaling", "scaling-rates", "scaling-check"
COST, SPEED, GPU = "experiment-cost-2cores", "predict-speed", "h100-2026-11-27"
MEGABITS = (1.0, 2.5, 5.0)
CLIP_S = 6  # of the clips that were timed on the GPU
MEGABYTE, GIGABYTE = 1e6, 1e9


@table("scaling-short")
def short() -> str:
    """The answer in words."""
    content = results(SCALING)
    hours, measured = _hours(), content["measured"]
    largest = max(_nodes(content))
    plain, apart = (
        one(content["rows"], name=name, nodes=largest)
        for name in ("as assumed", "slow units twice, files written by workers")
    )
    few = one(content["rows"], name="as assumed", nodes=min(_nodes(content)))
    epoch = content["grid"]["epoch_s"] / 3600
    prepared = _bytes(hours * measured["write"])
    return (
        f"{hours * measured['core_s'] / 3600:,.0f} core hours of `mesm prepare`, {prepared} "
        f"prepared, and by estimate {epoch:.1f} hours of an H100 an epoch; "
        f"{few['seconds'] / 60:.0f} minutes on {few['nodes']} machines of "
        f"{content['assumed']['cores']} cores and {plain['seconds'] / 60:.0f} on {largest:,}, "
        f"since one process writes the files in the end; {apart['seconds'] / 60:.0f} if workers "
        "wrote them"
    )


@table("scaling-gradients")
def gradients() -> str:
    """Bytes and time of an exchange of gradients, in words."""
    content = results(SCALING)
    amount = 2 * 4 * content["parameters"]
    link = content["assumed"]["gpu_link"]
    return (
        f"{_bytes(amount)} per machine of a MESM of the paper's size in float32, "
        f"{1000 * amount / link:.0f} ms at {link / GIGABYTE:g} GB/s (assumed)"
    )


@table("scaling-clips")
def clips() -> str:
    """The head's time for units of one clip, in words."""
    content = results(SCALING)
    assumed = content["assumed"]
    count = 3600 * assumed["hours"] / assumed["clip_s"]
    pool = _minutes(count * results(RATES)["pool"]["head_cpu_s"])
    head = _minutes(count / assumed["head_tasks"])
    return (
        f"{count:,.0f} units for {assumed['hours']:,.0f} hours, which take a head of "
        f"{assumed['head_tasks']:g} a second {head} minutes to hand out, and the pool of one "
        f"machine {pool}; several to a unit would be better"
    )


@table("scaling-cores")
def cores() -> str:
    """Core hours of every step, per picture size where pictures matter."""
    hours = _hours()
    content, measured = results(COST), results(SCALING)["measured"]
    features = results(RATES)["features"]
    heard = sum(unit["seconds"] for unit in features)
    rows = [
        (
            f"`prepare`, pictures of {found['pictures']}, whole command",
            hours * found["prepare_cpu_s"] / (found["minutes"] * 60),
            f"`{COST}`",
        )
        for found in content["corpora"].values()
    ]
    rows = list({name: (name, *rest) for name, *rest in rows}.values())
    rows += [
        (
            f"`prepare`, {results(RATES)['pictures']}, its units alone",
            hours * measured["core_s"] / 3600,
            f"`{RATES}`",
        ),
        (
            "`features`, its units alone",
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
    clips = _hours() * 3600 / CLIP_S
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
    hours, content = _hours(), results(COST)
    written = hours * results(SCALING)["measured"]["write"]
    features = results(RATES)["features"]
    lines = [
        (
            f"recordings at {megabits:g} Mbit/s",
            _bytes(hours * 3600 * megabits * 1e6 / 8),
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
            f"{_bytes(min(prepared))} to {_bytes(max(prepared))}",
            f"`{COST}`",
        ),
        ("part files, until the end beside the prepared ones", _bytes(written), f"`{RATES}`"),
        ("features", _bytes(hours * feature_bytes / feature_hours), f"`{RATES}`"),
        (
            "a training's folder, whatever the hours",
            _bytes(max(found["run_bytes"] for found in content["training"].values())),
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
            _bytes(_unit() * read) + " / " + _bytes(_unit() * measured["write"]),
        ),
        ("a core, read and written", f"{per_core / MEGABYTE:.2f} MB/s"),
    ]
    lines += [
        (
            f"{nodes:,} machines of {assumed['cores']} cores",
            f"{nodes * assumed['cores'] * per_core / GIGABYTE:.2f} GB/s, "
            f"{nodes * assumed['cores'] / (_unit() * measured['core_s']):,.0f} units/s",
        )
        for nodes in _nodes(content)
    ]
    return markdown((f"at {assumed['megabits']:g} Mbit/s", "network"), lines)


@table("scaling-time")
def time() -> str:
    """The simulated time per scenario and number of machines."""
    content = results(SCALING)
    names = [row["name"] for row in content["rows"] if row["nodes"] == min(_nodes(content))]
    lines = []
    for nodes in _nodes(content):
        for name in names:
            row = one(content["rows"], name=name, nodes=nodes)
            lines.append(
                (
                    f"{nodes:,}",
                    name,
                    f"{_minutes(row['seconds'])} ({_interval(row)})",
                    f"{row['core_hours']:,.0f}",
                    f"{100 * row['efficiency']:.0f} %",
                    f"{row['lost'] / 3600:.1f}",
                    f"{row['copied'] / 3600:.1f}",
                    f"{row['again']:.1f} / {row['copies']:.0f}",
                )
            )
    head = (
        *("machines", "", "minutes", "core hours paid", "of use"),
        *("core hours lost by deaths", "in copies", "units again / copied"),
    )
    return markdown(head, lines)


@table("scaling-terms")
def shares() -> str:
    """Seconds that each part would take alone, per number of machines."""
    content = results(SCALING)
    rows = [one(content["rows"], name="as assumed", nodes=nodes) for nodes in _nodes(content)]
    lines = []
    for name in rows[0]["terms"]:
        cells = []
        for row in rows:
            text = f"{row['terms'][name]:,.0f}"
            longest = row["terms"][name] == max(row["terms"].values())
            cells.append(f"**{text}**" if longest else text)
        lines.append((name, *cells))
    lines.append(("simulated, all together", *(f"{row['seconds']:,.0f}" for row in rows)))
    head = ("seconds, as assumed", *(f"{nodes:,} machines" for nodes in _nodes(content)))
    return markdown(head, lines)


@table("scaling-sizes")
def sizes() -> str:
    """The simulated time per length of a recording, files written by workers."""
    content = results(SCALING)
    names = {row["name"] for row in content["rows"] if row["name"].endswith(" min")}
    lines = []
    for name in sorted(names, key=lambda name: float(name.split()[0])):
        rows = [row for row in content["rows"] if row["name"] == name]
        lines.append(
            (
                name,
                f"{rows[0]['units']:,}",
                *(_time_and_use(row) for row in rows),
            )
        )
    nodes = [row["nodes"] for row in rows]
    head = ("a recording", "units", *(f"{count:,} machines: minutes, of use" for count in nodes))
    return markdown(head, lines)


@table("scaling-best-size")
def best_size() -> str:
    """The length of a unit that is done first, per number of machines, in words."""
    rows = [row for row in results(SCALING)["rows"] if row["name"].endswith(" min")]
    best: dict[int, Row] = {}
    for row in rows:
        if row["nodes"] not in best or row["seconds"] < best[row["nodes"]]["seconds"]:
            best[row["nodes"]] = row
    return ", ".join(
        f"{row['name'].removesuffix(' min')} minutes on {nodes:,} machines"
        for nodes, row in sorted(best.items())
    )


@table("scaling-variants")
def variants() -> str:
    """How far single assumptions move the time."""
    content = results(SCALING)
    base = "slow units twice, files written by workers"
    after = [row["name"] for row in content["rows"]]
    names = [base, *after[after.index("lengths more uneven") :]]
    nodes = [row["nodes"] for row in content["rows"] if row["name"] == names[-1]]
    lines = []
    for name in dict.fromkeys(names):
        rows = [one(content["rows"], name=name, nodes=count) for count in nodes]
        lines.append((name, *map(_time_and_use, rows)))
    head = ("one thing other", *(f"{count:,} machines: minutes, of use" for count in nodes))
    return markdown(head, lines)


@table("scaling-storage-variants")
def storage_variants() -> str:
    """The most machines' time with other storages, in words."""
    content = results(SCALING)
    largest = max(_nodes(content))
    names = [row["name"] for row in content["rows"] if row["name"].startswith("storage ")]
    each = (
        f"{name.removeprefix('storage ')} makes it "
        f"{_minutes(one(content['rows'], name=name, nodes=largest)['seconds'])} minutes"
        for name in dict.fromkeys(names)
    )
    return f"{', '.join(each)} on {largest:,} machines"


@table("scaling-knee")
def knee() -> str:
    """The number of machines at which the head alone takes as long as all workers."""
    content = results(SCALING)
    found = one(content["rows"], name="as assumed", nodes=min(_nodes(content)))["terms"]
    head = found["head before"] + found["head after"]
    work = found["work over all cores"] * min(_nodes(content))
    return f"{work / head:.0f} machines"


@table("scaling-head")
def head() -> str:
    """The head's work before and after in words."""
    found = one(results(SCALING)["rows"], name="as assumed", nodes=10)["terms"]
    before, after = (_minutes(found[f"head {when}"]) for when in ("before", "after"))
    return f"{before} minutes before, {after} after"


@table("scaling-pool")
def pool() -> str:
    """How many empty units the pool of processes hands out."""
    found = results(RATES)["pool"]
    return (
        f"{1 / found['head_cpu_s']:,.0f} units a second of the head's processor time, "
        f"{found['units_per_second']:,.0f} on the clock"
    )


@table("scaling-check")
def check() -> str:
    """Real runs beside the simulation's, medians per number of workers."""
    runs = results(CHECK)["runs"]
    lines = []
    for workers in sorted({run["workers"] for run in runs}):
        own = [run for run in runs if run["workers"] == workers]
        cells = []
        for real, predicted in (("idle_s", "predicted_idle_s"), ("wall_s", "predicted_s")):
            errors = [run[predicted] / run[real] - 1 for run in own]
            cells += [
                f"{median(run[real] for run in own):.1f}",
                f"{median(run[predicted] for run in own):.1f}",
                f"{100 * median(errors):+.0f} % ({_signed(errors)})",
            ]
        others = [run["others_cores"] for run in own]
        lines.append((str(workers), str(len(own)), *cells, f"{median(others):.1f}"))
    head = (
        *("workers", "runs", "idle, s", "simulated", "error", "clock, s", "simulated", "error"),
        "cores that others used",
    )
    return markdown(head, lines)


@table("scaling-check-machine")
def machine() -> str:
    """Where the check ran."""
    found = results(CHECK)
    load = [run["load"] for run in found["runs"]]
    where = found["machine"]
    return (
        f"{where['cpu']}, {where['cores']} cores, {found['clips']} clips in "
        f"{len(found['units'])} units, load {min(load):.0f} to {max(load):.0f}"
    )


@table("scaling-grid")
def grid() -> str:
    """The paper's grid over GPUs."""
    found = results(SCALING)["grid"]
    lines = [
        (
            str(row["gpus"]),
            f"{row['seconds'] / 3600:,.0f} ({_interval(row, 3600)})",
            f"{100 * row['efficiency']:.0f} %",
            f"{row['lost'] / 3600:.1f}",
        )
        for row in found["rows"]
    ]
    head = ("GPUs", "hours", "of use", "GPU hours in trainings that broke off, most of them kept")
    return markdown(head, lines)


@table("scaling-grid-size")
def grid_size() -> str:
    """The grid in words."""
    found = results(SCALING)["grid"]
    epochs = f"{found['epochs']} epochs of {found['epoch_s'] / 60:.0f} minutes"
    return f"{found['cells']} trainings of {epochs}"


@table("scaling-assumed")
def assumed() -> str:
    """All assumptions, in words."""
    found = results(SCALING)["assumed"]
    lines = [
        (
            "a recording",
            f"{found['minutes']:g} minutes on average, {found['megabits']:g} Mbit/s, of clips of "
            f"{found['clip_s']:g} s",
        ),
        ("a machine", f"{found['cores']} cores, a worker on each; {found['gpus']} GPUs to train"),
        ("the head", f"{found['head_tasks']:g} units a second"),
        (
            "the network",
            f"{found['link'] / MEGABYTE:g} MB/s per worker, "
            f"{found['storage'] / GIGABYTE:g} GB/s from the storage in all, "
            f"{1000 * found['latency']:g} ms to the first byte",
        ),
        (
            "slow machines",
            f"{100 * found['slow_share']:g} % take {found['slow_factor']:g} times as long",
        ),
        (
            "failures",
            f"a machine every {found['node_mtbf_h']:g} h, as one that may be taken away, a worker "
            f"every {found['worker_mtbf_h']:g} h; known after {found['detect']:g} s, back after "
            f"{found['restart']:g} s",
        ),
        (
            "slow units twice",
            f"begun again after {found['copies']:g} times what units of their size took so far, "
            "where a worker is free",
        ),
    ]
    return markdown(("", "assumed"), lines)


def _hours() -> float:
    return float(results(SCALING)["assumed"]["hours"])


def _unit() -> float:
    return float(results(SCALING)["assumed"]["minutes"]) / 60


def _nodes(content: dict[str, Any]) -> list[int]:
    return sorted({row["nodes"] for row in content["rows"]})


def _bytes(value: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e3:.3g} kB"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}"


def _time_and_use(row: Row) -> str:
    return f"{_minutes(row['seconds'])} ({_interval(row)}), {100 * row['efficiency']:.0f} %"


def _interval(row: Row, unit: float = 60.0) -> str:
    low, high = (value / unit for value in row["seconds_90"])
    digits = 1 if unit == 60.0 else 0
    return f"{low:.{digits}f}–{high:.{digits}f}"


def _signed(errors: Sequence[float]) -> str:
    return f"{100 * min(errors):+.0f} to {100 * max(errors):+.0f}"
