"""The simulation of many machines that prepare and train on 1,000 hours of video."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.report import markdown
from benchmarks.tables.amounts import (
    GIGABYTE,
    MEGABYTE,
    SCALING,
    in_bytes,
    in_minutes,
    machines,
    simulated_hours,
)
from benchmarks.tables.registry import Row, one, results, table


@table("scaling-short")
def short() -> str:
    """The answer in words."""
    content = results(SCALING)
    hours, measured = simulated_hours(), content["measured"]
    largest = max(machines(content))
    alone, plain = (
        one(content["rows"], name=name, nodes=largest)
        for name in ("one process writes the files", "as assumed")
    )
    few = one(content["rows"], name="as assumed", nodes=min(machines(content)))
    epoch = content["grid"]["epoch_s"] / 3600
    prepared = in_bytes(hours * measured["write"])
    return (
        f"{hours * measured['core_s'] / 3600:,.0f} core hours of `mesm prepare`, {prepared} "
        f"prepared, and by estimate {epoch:.1f} hours of an H100 an epoch; "
        f"{few['seconds'] / 60:.0f} minutes on {few['nodes']} machines of "
        f"{content['assumed']['cores']} cores and {plain['seconds'] / 60:.0f} on {largest:,}; "
        f"{alone['seconds'] / 60:.0f} there if one process wrote the files"
    )


@table("scaling-time")
def time() -> str:
    """The simulated time per scenario and number of machines."""
    content = results(SCALING)
    names = [row["name"] for row in content["rows"] if row["nodes"] == min(machines(content))]
    lines = []
    for nodes in machines(content):
        for name in names:
            row = one(content["rows"], name=name, nodes=nodes)
            lines.append(
                (
                    f"{nodes:,}",
                    name,
                    f"{in_minutes(row['seconds'])} ({_interval(row)})",
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


@table("scaling-runs")
def runs() -> str:
    """How many runs the means are of, in words."""
    rows = results(SCALING)["rows"]
    main, other = one(rows, name="as assumed", nodes=10), rows[-1]
    return f"{main['runs']} runs ({other['runs']} of lengths and other assumptions)"


@table("scaling-terms")
def shares() -> str:
    """Seconds that each part would take alone, per number of machines."""
    content = results(SCALING)
    rows = [one(content["rows"], name="as assumed", nodes=nodes) for nodes in machines(content)]
    lines = []
    for name in rows[0]["terms"]:
        cells = []
        for row in rows:
            text = f"{row['terms'][name]:,.0f}"
            longest = row["terms"][name] == max(row["terms"].values())
            cells.append(f"**{text}**" if longest else text)
        lines.append((name, *cells))
    lines.append(("simulated, all together", *(f"{row['seconds']:,.0f}" for row in rows)))
    head = ("seconds, as assumed", *(f"{nodes:,} machines" for nodes in machines(content)))
    return markdown(head, lines)


@table("scaling-sizes")
def sizes() -> str:
    """The simulated time per length of a recording."""
    names = {row["name"] for row in results(SCALING)["rows"] if row["name"].endswith(" min")}
    return _compared("a recording", sorted(names, key=lambda name: float(name.split()[0])), True)


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
    names = [row["name"] for row in results(SCALING)["rows"]]
    others = names[names.index("lengths more uneven") :]
    return _compared("one thing other", ["slow units twice", *dict.fromkeys(others)], False)


def _compared(title: str, names: Iterable[str], counted: bool) -> str:
    """A line per scenario: units if asked for, then time and use by number of machines."""
    rows = results(SCALING)["rows"]
    nodes = sorted({row["nodes"] for row in rows if row["name"].endswith(" min")})
    lines = []
    for name in names:
        own = [one(rows, name=name, nodes=count) for count in nodes]
        units = [f"{own[0]['units']:,}"] if counted else []
        lines.append((name, *units, *map(_time_and_use, own)))
    titles = [title, "units"] if counted else [title]
    return markdown((*titles, *(f"{count:,} machines: minutes, of use" for count in nodes)), lines)


@table("scaling-storage-variants")
def storage_variants() -> str:
    """The most machines' time with other storages, in words."""
    content = results(SCALING)
    largest = max(machines(content))
    names = [row["name"] for row in content["rows"] if row["name"].startswith("storage ")]
    each = (
        f"{name.removeprefix('storage ')} makes it "
        f"{in_minutes(one(content['rows'], name=name, nodes=largest)['seconds'])} minutes"
        for name in dict.fromkeys(names)
    )
    return f"{', '.join(each)} on {largest:,} machines"


@table("scaling-knee")
def knee() -> str:
    """The number of machines at which the head alone takes as long as all workers."""
    return f"{_knee('as assumed'):.0f} machines"


@table("scaling-knee-alone")
def knee_alone() -> str:
    """The same where one process writes the files."""
    return f"{_knee('one process writes the files'):.0f}"


def _knee(name: str) -> float:
    content = results(SCALING)
    few = min(machines(content))
    found = one(content["rows"], name=name, nodes=few)["terms"]
    work = found["work over all cores"] + found["files over all cores"]
    return float(work * few / (found["head before"] + found["head after"]))


@table("scaling-head")
def head() -> str:
    """The head's work before and after in words."""
    found = one(results(SCALING)["rows"], name="as assumed", nodes=10)["terms"]
    before, after = (found[f"head {when}"] for when in ("before", "after"))
    return f"{before:.0f} seconds before, {after:.0f} after"


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


def _time_and_use(row: Row) -> str:
    return f"{in_minutes(row['seconds'])} ({_interval(row)}), {100 * row['efficiency']:.0f} %"


def _interval(row: Row, unit: float = 60.0) -> str:
    low, high = (value / unit for value in row["seconds_90"])
    digits = 1 if unit == 60.0 else 0
    return f"{low:.{digits}f}–{high:.{digits}f}"
