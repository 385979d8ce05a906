"""The preparation of many hours of video as a cluster and its units: after rates, and assumptions.

It goes in two phases: parts are made of recordings, and the corpus' files of the parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from benchmarks.scaling.cluster import Cluster, Outcome, Unit
from benchmarks.scaling.simulator import simulate
from benchmarks.scaling.work import Rates, Spread, draw_units
from mesm.corpora.assembly import CLIPS_PER_FILE


@dataclass(frozen=True)
class Assumed:
    """Everything that was not measured here.

    Attributes:
        hours: of clips.
        clip_s: seconds of a clip, on average; as IEMOCAP's.
        minutes: of a recording, on average: a unit.
        cores: of a machine.
        megabits: of a recording per second.
        head_tasks: units per second that a cluster's head hands out, as Ray's releases publish.
        link: bytes per second of a worker.
        storage: bytes per second of the storage that all share.
        latency: seconds until the first byte.
        slow_share, slow_factor: machines that are slower, and how much.
        node_mtbf_h, worker_mtbf_h: hours until a machine, a worker fails.
        detect, restart: seconds until a failure is known, and until a machine is back.
        copies: how many times longer than others of its size before a unit is begun again.
        gpus: of a machine that trains.
        gpu_link: bytes per second between machines that train together.
    """

    hours: float = 1000.0
    clip_s: float = 4.6
    minutes: float = 5.0
    cores: int = 16
    megabits: float = 2.5
    head_tasks: float = 582.0
    link: float = 30e6
    storage: float = 5e9
    latency: float = 0.05
    slow_share: float = 0.05
    slow_factor: float = 2.0
    node_mtbf_h: float = 24.0
    worker_mtbf_h: float = 1000.0
    detect: float = 30.0
    restart: float = 120.0
    copies: float = 1.5
    gpus: int = 8
    gpu_link: float = 25e9


@dataclass(frozen=True)
class Measured:
    """Measured amounts, of an hour of clips if not said otherwise.

    Attributes:
        core_s: processor seconds of the units.
        write: bytes of the part files.
        listing_s: of the head before the first unit, per clip.
        assembly_clip_s: of the head around the files' writing, per clip.
        file_clip_s, file_s: of whoever writes the files, per clip and per hour.
        before_s: of the command, whatever the corpus.
        start_s: of a worker.
        pool_head_s: of the head per unit, through the pool of one machine.
        spread: how units differ.
    """

    core_s: float
    write: float
    listing_s: float
    assembly_clip_s: float
    file_clip_s: float
    file_s: float
    before_s: float
    start_s: float
    pool_head_s: float
    spread: Spread

    @classmethod
    def read(cls, rates: Mapping[str, Any]) -> Measured:
        """From the JSON of `scaling_rates`."""
        units = rates["units"]
        hours = sum(unit["seconds"] for unit in units) / 3600
        clips = sum(unit["clips"] for unit in units)
        per_clip, per_second = per_clip_and_second(rates["assembly"])
        short, _ = rates["assembly"]
        return cls(
            core_s=sum(unit["cpu_s"] for unit in units) / hours,
            write=sum(unit["write"] for unit in units) / hours,
            listing_s=rates["listing_cpu_s"] * len(units) / clips,
            assembly_clip_s=short["head_cpu_s"] / short["clips"],
            file_clip_s=per_clip,
            file_s=3600 * per_second,
            # The command imports what a worker does.
            before_s=rates["pool"]["start_cpu_s"],
            start_s=rates["pool"]["start_cpu_s"],
            pool_head_s=rates["pool"]["head_cpu_s"],
            spread=Spread.of(units),
        )


def per_clip_and_second(assemblies: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    """Processor seconds of the files' writing per clip and per second of clips.

    Taken from two corpora with as many clips, one of which has the longer ones.

    Raises:
        ValueError: a clip costs less the longer it is: the measurement was disturbed.
    """
    short, long = assemblies
    more = long["files_cpu_s"] - short["files_cpu_s"]
    per_second = more / (long["seconds"] - short["seconds"])
    per_clip = (short["files_cpu_s"] - per_second * short["seconds"]) / short["clips"]
    if min(per_second, per_clip) < 0:
        raise ValueError(f"files cost {per_clip} s a clip and {per_second} s a second of it")
    return per_clip, per_second


def cluster_of(nodes: int, measured: Measured, assumed: Assumed) -> Cluster:
    """The machines of a preparation."""
    clips = 3600 * assumed.hours / assumed.clip_s
    return Cluster(
        nodes=nodes,
        cores=assumed.cores,
        before=measured.before_s + clips * measured.listing_s,
        start=measured.start_s,
        dispatch=1 / assumed.head_tasks,
        after=clips * measured.assembly_clip_s,
        link=assumed.link,
        storage=assumed.storage,
        latency=assumed.latency,
        slow_share=assumed.slow_share,
        slow_factor=assumed.slow_factor,
        node_mtbf=3600 * assumed.node_mtbf_h,
        worker_mtbf=3600 * assumed.worker_mtbf_h,
        detect=assumed.detect,
        restart=assumed.restart,
    )


def units_of(measured: Measured, assumed: Assumed, seed: int, sigma: float = 0.0) -> list[Unit]:
    """The recordings of a preparation, as one seed draws them."""
    rates = Rates(measured.core_s, assumed.megabits * 1e6 / 8 * 3600, measured.write)
    return draw_units(measured.spread, rates, assumed.hours, assumed.minutes, seed, sigma)


def files_of(measured: Measured, assumed: Assumed) -> list[Unit]:
    """The files of the corpus, each of as many clips: the units of the second phase."""
    clips = 3600 * assumed.hours / assumed.clip_s
    count = ceil(clips / CLIPS_PER_FILE)
    seconds = clips * measured.file_clip_s + assumed.hours * measured.file_s
    written = assumed.hours * measured.write / count
    return [Unit(1.0, seconds / count, written, written)] * count


def prepared(
    units: Sequence[Unit], files: Sequence[Unit], cluster: Cluster, seed: int, alone: bool = False
) -> Outcome:
    """Simulate a preparation.

    Args:
        units: recordings.
        files: of the corpus.
        cluster: whose head works before and after.
        seed: of what fails.
        alone: the head writes the files, one after the other.
    """
    first = simulate(units, replace(cluster, after=0.0), seed)
    if alone:
        seconds = sum(file.seconds for file in files)
        return _joined(first, Outcome(seconds=seconds, useful=seconds), cluster)
    # Workers are there already.
    there = replace(cluster, before=0.0, start=0.0, after=0.0)
    return _joined(first, simulate(files, there, seed), cluster)


def _joined(first: Outcome, second: Outcome, cluster: Cluster) -> Outcome:
    """One run of two phases and the head's work after them."""
    added = {
        name: getattr(first, name) + getattr(second, name)
        for name in ("useful", "lost", "copied", "nodes_failed", "workers_died", "again", "copies")
    }
    seconds = first.seconds + second.seconds + cluster.after
    return replace(
        first,
        **added,
        seconds=seconds,
        efficiency=added["useful"] / (seconds * cluster.nodes * cluster.cores),
    )


def terms(
    units: Sequence[Unit], files: Sequence[Unit], cluster: Cluster, alone: bool = False
) -> dict[str, float]:
    """Seconds that each part would take if it were alone: no run is shorter than any of them."""
    workers = cluster.nodes * cluster.per_node
    written = sum(file.seconds for file in files)
    moved = sum(unit.read + unit.write for unit in [*units, *([] if alone else files)])
    longest = max(
        unit.seconds + cluster.latency + (unit.read + unit.write) / cluster.link for unit in units
    )
    return {
        "head before": cluster.before,
        "workers' start": cluster.start,
        "work over all cores": sum(unit.seconds for unit in units) / workers,
        "longest unit": longest,
        "files over all cores": 0.0 if alone else written / workers,
        "head hands out": (len(units) + (0 if alone else len(files))) * cluster.dispatch,
        "storage": moved / min(cluster.storage, workers * cluster.link),
        "head after": cluster.after + (written if alone else 0.0),
    }
