"""The paper's Tables 1 and 2: average lengths, and clips per emotion and split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mesm.corpora.manifest import Manifest
from mesm.corpora.paper_figures import PaperSplit
from mesm.corpora.prepared import PreparedCorpus
from mesm.corpora.registry import find_corpus
from mesm.runs.environment import describe
from mesm.tables.notes import PAPER_MARK, as_paper, corpus_note, whose_note
from mesm.tables.table import DASH, Cell, Table, percent, row

PAPER_HEAD = ("words", "seconds", "train", "valid", "test")


def splits_table(
    manifest: Manifest,
    *,
    name: str,
    title: str,
    paper: Mapping[str, PaperSplit] | None = None,
    notes: Sequence[str] = (),
    provenance: Mapping[str, object] | None = None,
) -> Table:
    """Per emotion, for clips without one and for all: average words and seconds, split sizes."""
    splits = manifest.counts
    rows = []
    for emotion in manifest.emotions:
        sizes = [counts.labels.get(emotion, 0) for counts in splits.values()]
        figures = paper.get(emotion) if paper else None
        rows.append((emotion, *_lengths(manifest, emotion), *sizes, *_printed(paper, figures)))
    alone = [counts.no_emotion for counts in splits.values()]
    rows.append(("no emotion", Cell(DASH), Cell(DASH), *alone, *_printed(paper, None)))
    sizes = [counts.clips for counts in splits.values()]
    rows.append(("all clips", *_lengths(manifest, "all"), *sizes, *_printed(paper, None)))
    beside = [(PAPER_MARK, len(PAPER_HEAD))] if paper else []
    return Table(
        name=name,
        title=title,
        groups=(("", 1), ("average", 2), ("clips", len(splits)), *beside),
        head=("", "words", "seconds", *splits, *(PAPER_HEAD if paper else ())),
        rows=tuple(row("", *cells) for cells in rows),
        notes=tuple(notes),
        provenance=provenance or {},
    )


def _lengths(manifest: Manifest, key: str) -> tuple[Cell, Cell]:
    lengths = manifest.averages.get(key)
    if lengths is None:
        return Cell(DASH), Cell(DASH)
    return (
        Cell(f"{lengths.words:.2f}", lengths.words),
        Cell(f"{lengths.seconds:.2f}", lengths.seconds),
    )


def _printed(paper: object, figures: PaperSplit | None) -> list[Cell]:
    if not paper:
        return []
    if figures is None:
        return [Cell(DASH)] * len(PAPER_HEAD)
    lengths = [Cell(f"{value:.2f}", value) for value in (figures.words, figures.seconds)]
    sizes = [Cell(str(size), size) for size in (figures.train, figures.valid, figures.test)]
    return lengths + sizes


def faces_note(manifest: Manifest) -> str:
    """How many clips there are, and in how many frames a face was found."""
    faces = manifest.faces
    return (
        f"{sum(counts.clips for counts in manifest.counts.values())} clips; a face was found in "
        f"{faces.found} of {faces.frames} sampled frames "
        f"({percent(faces.found / max(faces.frames, 1))} %)."
    )


def labels_note(manifest: Manifest) -> str:
    """How many emotions a clip may have."""
    if manifest.single_label:
        return "Every clip carries exactly one emotion."
    clips = sum(counts.clips for counts in manifest.counts.values())
    labels = sum(sum(counts.labels.values()) for counts in manifest.counts.values())
    if labels == clips and not any(counts.no_emotion for counts in manifest.counts.values()):
        return "Every clip carries exactly one emotion, and each emotion is a question of its own."
    return "A clip may carry several emotions or none."


def splits_tables(corpora: Sequence[Path], *, synthetic: bool | None = None) -> list[Table]:
    """Make Table 1 or 2 of prepared corpora.

    Args:
        corpora: folders of prepared corpora.
        synthetic: whether they are miniature ones; None: as each manifest has it.

    Raises:
        ValueError: a folder is no prepared corpus.
    """
    tables = []
    for place, folder in enumerate(corpora):
        manifest = PreparedCorpus.open(folder).manifest
        known = manifest.synthetic if synthetic is None else synthetic
        corpus = find_corpus(manifest.corpus)
        figures = corpus.paper
        number = figures.splits_table if figures else None
        beside = known is False
        skipped = ", ".join(f"{n} {reason}" for reason, n in manifest.skipped_by_reason.items())
        notes = [
            corpus_note(manifest, known),
            faces_note(manifest),
            f"Left out: {skipped}." if skipped else "",
            f"{labels_note(manifest).rstrip('.')}; averages are over all splits.",
            whose_note(number, beside, known),
            figures.splits_note if figures and beside else "",
        ]
        suffix = f"_{place + 1}" if len(corpora) > 1 else ""
        tables.append(
            splits_table(
                manifest,
                name=f"splits_{manifest.corpus}{suffix}",
                title=f"{'A miniature ' * bool(known)}{manifest.title}: clips per emotion and split"
                f"{as_paper(number)}",
                paper=figures.splits if figures and beside else None,
                notes=[note for note in notes if note],
                provenance={
                    "corpus": folder.name,
                    "options": manifest.options,
                    "files": manifest.files,
                    "made_with": describe(),
                },
            )
        )
    return tables
