"""The paper's Figure 5 as a table: quality against FLOPs and latency, per p or per budget."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from mesm.config.end_to_end import FE2ESettings
from mesm.corpora.manifest import Manifest, read_manifest
from mesm.corpora.registry import find_corpus
from mesm.data.corpus_folder import locate_corpus
from mesm.evaluation.metrics import SHORT_NAMES, overall_columns
from mesm.evaluation.pooled import without_index
from mesm.evaluation.run import Run
from mesm.runs.documents import Sweep
from mesm.runs.environment import describe
from mesm.runs.files import read_json
from mesm.runs.folder import RunFolder
from mesm.tables.costs import sweep_points, uniform
from mesm.tables.fold_sweeps import BASELINE, SweptFile, setting_of, with_folds_pooled
from mesm.tables.folds import manifest_of_folds
from mesm.tables.names import describe_value, run_name
from mesm.tables.notes import (
    averages_group,
    corpus_note,
    flops_note,
    folds_note,
    latency_method,
    policy_note,
    seeds_note,
)
from mesm.tables.runs import (
    INCIDENTAL,
    corpus_for,
    corpus_identity,
    flatten,
    tell_apart,
)
from mesm.tables.table import Cell, Row, Table, row, spread

# The points of each file: several p of one model, one model per p, p for a share of the FLOPs.
KINDS = {
    "sweep.json": "one training",
    "retrain.json": "a training per p",
    "budget.json": "one training, FLOP budget",
}


@dataclass
class Curve:
    """The files of runs that differ in their seed alone.

    Attributes:
        name: of the run they are about.
        kind: one of `KINDS`.
        facts: what the files of one table share.
        settings: of the runs, flat; empty where the folder is no run.
        manifest: of the corpus, where it can be found.
        files: one per seed.
    """

    name: str
    kind: str
    facts: list[Any]
    settings: Mapping[str, Any]
    manifest: Manifest | None
    files: list[SweptFile] = field(default_factory=list)

    @property
    def folded(self) -> bool:
        """Whether each file is of all folds of a training."""
        return bool(self.files[0].parts)


def sweep_tables(
    places: Sequence[Path], *, synthetic: bool | None = None, corpora: Sequence[Path] = ()
) -> list[Table]:
    """Make a table of every sweep.json, retrain.json and budget.json at or below some folders.

    Files of runs that differ in their seed alone are averaged. Files of another corpus, split,
    metric or threshold policy have a table of their own. The folds of a training are one: their
    pooled scores, with mean and deviation over them beside.

    Args:
        places: the folders.
        synthetic: whether the corpus is a miniature one; None: as its manifest has it.
        corpora: as of `mesm.tables.runs.read_runs`.

    Raises:
        ValueError: there is none, or one holds no points; or as of `with_folds_pooled`.
    """
    conditions: dict[str, list[Curve]] = {}
    for curve in _curves(places, corpora):
        conditions.setdefault(json.dumps(curve.facts), []).append(curve)
    tables = []
    for place, curves in enumerate(conditions.values()):
        corpus, split, clips, metrics, *_ = curves[0].facts
        first = curves[0].files[0].content["points"][0]
        folded = curves[0].folded
        suffix = f"_{place + 1}" if len(conditions) > 1 else ""
        manifest = curves[0].manifest
        title = manifest.title if manifest else find_corpus(corpus).title
        names = tell_apart(
            {str(place): curve.name for place, curve in enumerate(curves)},
            {str(place): curve.settings for place, curve in enumerate(curves)},
        )
        for number, curve in enumerate(curves):
            curve.name = names[str(number)]
        known = synthetic if synthetic is not None or manifest is None else manifest.synthetic
        notes = [
            corpus_note(manifest, known)
            if manifest
            else f"Corpus: one in {title}'s layout, which is not there any more.",
            f"Percent on the {split} split, {clips} clips.",
            policy_note(first).replace("Threshold:", "Threshold per emotion:"),
            seeds_note(len(curve.files) for curve in curves),
            *([folds_note(first)] if folded else []),
            flops_note(paper=False),
            "Of FE2E: FLOPs over those of the FE2E that was measured beside it, or of its shapes; "
            "speed-up: over the FE2E that was timed with it.",
            *_latency_notes(curves),
        ]
        if len(conditions) > 1:
            notes.append("Other files differ in corpus, split, metric, threshold policy or folds.")
        tables.append(
            Table(
                name=f"sweep_{corpus}_{split}{suffix}",
                title="Quality against FLOPs and latency (as the paper's Figure 5)",
                groups=(
                    ("", 3),
                    (averages_group(first), len(metrics)),
                    *([("over folds", len(metrics))] if folded else []),
                    *(("extraction", 2), ("latency per clip", 2)),
                ),
                head=(
                    *("", "p", "seeds"),
                    *(SHORT_NAMES[metric] for metric in metrics),
                    *(SHORT_NAMES[metric] for metric in (metrics if folded else ())),
                    *("GFLOPs", "of FE2E, %", "ms", "speed-up"),
                ),
                rows=tuple(line for curve in curves for line in _rows(curve, metrics)),
                notes=tuple(notes),
                provenance=_provenance(curves),
            )
        )
    return tables


def _find(places: Sequence[Path]) -> list[Path]:
    found: dict[Path, Path] = {}
    for place in places:
        if not place.is_dir():
            raise ValueError(f"{place}: no such folder; name folders of runs, or above them")
        for folder, below, files in os.walk(place):
            below.sort()
            for name in sorted(KINDS.keys() & set(files), key=list(KINDS).index):
                path = Path(folder) / name
                found.setdefault(path.resolve(), path)
    if not found:
        raise ValueError(
            f"{', '.join(map(str, places))}: no {', '.join(KINDS)} there or below; "
            "`mesm sweep RUN` makes one"
        )
    return list(found.values())


def _read(path: Path) -> SweptFile:
    content = read_json(path, Sweep)
    dense = None
    if not content.get(BASELINE):
        beside = read_json(path.with_name("sweep.json"), Sweep) or {}
        dense = beside.get(BASELINE) if beside.get("split") == content["split"] else None
    run = Run(path.parent) if RunFolder(path.parent).config.is_file() else None
    return SweptFile(path, content, run, dense)


def _curves(places: Sequence[Path], corpora: Sequence[Path]) -> list[Curve]:
    curves: dict[str, Curve] = {}
    for file in with_folds_pooled([_read(path) for path in _find(places)]):
        first = file.content["points"][0]
        facts = [
            file.content["corpus"],
            file.content["split"],
            file.content["clips"],
            overall_columns(first, file.content["metric"]),
            first["threshold"]["policy"],
        ]
        kind, name, key = KINDS[file.path.name], file.path.parent.name, str(file.path)
        shared: dict[str, Any] = {}
        manifest = None
        if file.run is not None:
            settings = without_index(file.run.settings) if file.parts else file.run.settings
            manifest = _manifest(file.run.path, settings["corpus"], corpora)
            facts.append(corpus_identity(manifest) if manifest else str(settings["corpus"]))
            if file.parts:
                facts.append(settings["fold"])
                manifest = manifest and manifest_of_folds(manifest, file.run)
            shared = {k: v for k, v in flatten(settings).items() if k not in INCIDENTAL}
            key = json.dumps([kind, facts, shared], sort_keys=True)
            name = run_name(settings["model"])
        else:
            facts.append(None)
        curve = curves.setdefault(key, Curve(name, kind, facts, shared, manifest))
        curve.files.append(file)
    return list(curves.values())


def _manifest(run: Path, named: str, corpora: Sequence[Path]) -> Manifest | None:
    """The manifest of a run's corpus; None: it is not found, and nothing but notes need it."""
    given = corpus_for(run, corpora)
    try:
        place = locate_corpus(RunFolder(run), Path(named), given)
    except ValueError:
        return None
    return read_manifest(place)


def _rows(curve: Curve, metrics: Sequence[str]) -> list[Row]:
    """FE2E if it was measured, then every point that all or some of the files have."""
    rows = []
    bases = [
        _Point(file.content[BASELINE], file.content[BASELINE])
        for file in curve.files
        if file.content.get(BASELINE)
    ]
    if bases:
        name = Cell(f"{FE2ESettings.title}, beside {curve.name}", bases[0].figures.get("run"))
        rows.append(_row("fe2e", name, Cell(""), bases, metrics))
    points: dict[str, list[_Point]] = {}
    for file in curve.files:
        for figures in sweep_points(file.content):
            key = json.dumps(setting_of(figures), sort_keys=True)
            point = _Point(figures, file.content.get(BASELINE), file.dense)
            points.setdefault(key, []).append(point)
    for found in points.values():
        name = Cell(f"{curve.name}: {curve.kind}", {"run": curve.name, "kind": curve.kind})
        rows.append(_row("mesm", name, _setting_cell(found), found, metrics))
    return rows


@dataclass(frozen=True)
class _Point:
    """The figures of one file at one p, and FE2E as measured with it, or for its FLOPs alone."""

    figures: Mapping[str, Any]
    base: Mapping[str, Any] | None
    dense: Mapping[str, Any] | None = None

    @property
    def share(self) -> float | None:
        """Its FLOPs over FE2E's; a budget's from the shapes of FE2E's extractors."""
        if "share" in self.figures:
            return float(self.figures["share"])
        return _ratio(_flops(self.figures), _flops(self.base or self.dense))

    @property
    def faster(self) -> float | None:
        """FE2E's latency over its."""
        return _ratio(_latency(self.base), _latency(self.figures))


def _setting_cell(points: Sequence[_Point]) -> Cell:
    """Its p; of a budget the share and, of one seed, the p that met it."""
    first, every_p = points[0].figures, [point.figures["p"] for point in points]
    if "budget" not in first:
        return Cell(describe_value(uniform(first["p"])), first["p"])
    text = f"budget {first['budget']:g}"
    text += f", {first['kind']}" if first.get("kind") else ""
    alone = len(every_p) == 1 and "per_fold" not in first
    text += f" ({describe_value(uniform(every_p[0]))})" if alone else ""
    return Cell(text, {**setting_of(first), "p": every_p})


def _row(
    kind: str, name: Cell, setting: Cell, points: Sequence[_Point], metrics: Sequence[str]
) -> Row:
    averages = [point.figures["average"] for point in points]
    folded = "per_fold" in points[0].figures
    return row(
        kind,
        name,
        setting,
        len(points),
        *(spread([average[metric] for average in averages], scale=100) for metric in metrics),
        *(spread(_fold_means(points, metric), scale=100) for metric in metrics if folded),
        spread([_flops(point.figures) for point in points], 3, 1e-9),
        spread([point.share for point in points], scale=100),
        spread([_latency(point.figures) for point in points]),
        spread([point.faster for point in points], 2),
    )


def _fold_means(points: Sequence[_Point], metric: str) -> list[float]:
    """One score of each fold, the mean over the seeds."""
    each = zip(*(point.figures["per_fold"] for point in points), strict=True)
    return [fmean(average[metric] for average in fold) for fold in each]


def _ratio(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one / other


def _flops(point: Mapping[str, Any] | None) -> float | None:
    flops = point.get("flops_per_clip") if point else None
    return float(flops["total"]) if flops else None


def _latency(point: Mapping[str, Any] | None) -> float | None:
    latency = point.get("latency_ms_per_clip") if point else None
    return float(latency["model"]) if latency else None


def _latency_notes(curves: Sequence[Curve]) -> list[str]:
    """How latency was measured; several ways are all named, and compare with none."""
    settings = {}
    for curve in curves:
        for file in _sources(curve):
            setting = file.content.get("latency_setting")
            if setting:
                settings[json.dumps(setting, sort_keys=True)] = setting
    texts = [latency_method(one) for one in settings.values()]
    unsaid = {
        curve.kind
        for curve in curves
        for file in _sources(curve)
        if not file.content.get("latency_setting")
        and _latency(file.content["points"][0]) is not None
    }
    if unsaid:
        texts.append(f"in a way that is not recorded ({', '.join(sorted(unsaid))})")
    if not texts:
        return []
    several = " These differ, so milliseconds of two files do not compare." if texts[1:] else ""
    return [f"Latency: {'; or '.join(texts)}.{several}"]


def _sources(curve: Curve) -> list[SweptFile]:
    return [source for file in curve.files for source in file.sources]


def _provenance(curves: Sequence[Curve]) -> dict[str, Any]:
    return {
        "files": [
            {
                "row": f"{curve.name}: {curve.kind}",
                "folder": file.path.parent.name,
                "file": file.path.name,
                "seed": file.seed,
                "environment": file.content.get("environment"),
            }
            for curve in curves
            for file in _sources(curve)
        ],
        "made_with": describe(),
    }
