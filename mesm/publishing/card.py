"""The model card: what a published model is, how good, and what it must not be used for.

Its metadata has the fields that the hub documents:
https://github.com/huggingface/hub-docs/blob/main/modelcard.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from mesm.config.experiment import ExperimentConfig
from mesm.corpora.manifest import Manifest
from mesm.evaluation.calibration import errors
from mesm.evaluation.metrics import (
    SHORT_NAMES,
    emotion_columns,
    is_single_label,
    overall_columns,
)
from mesm.publishing.contents import CURVE, LIBRARY, METRICS
from mesm.publishing.terms import Licence, terms_of
from mesm.tables.formats import escape_markdown, to_markdown
from mesm.tables.names import run_name
from mesm.tables.notes import corpus_note, flops_note, metric_notes
from mesm.tables.table import DASH, Cell, Table, percent, row

TASK = "video-classification"  # the hub's; it has none for emotions
TAGS = ("emotion-recognition", "multimodal", "affective-computing", "audio", "text", LIBRARY)
PAPER = "https://aclanthology.org/2021.naacl-main.417"
# The hub's name of each metric, and what it is here.
METRIC_TYPES = {
    "accuracy": ("accuracy", "accuracy, mean over the emotions"),
    "weighted_accuracy": ("accuracy", "weighted accuracy, mean over the emotions"),
    "f1": ("f1", "F1, mean over the emotions"),
    "f1_weighted": ("f1", "F1 weighted over presence and absence, mean over the emotions"),
    "uar": ("recall", "unweighted average recall"),
    "weighted_f1": ("f1", "weighted F1"),
    "macro_f1": ("f1", "macro F1"),
}

NOT_FOR = """\
- **Judging people**: hiring, work, school, exams, credit, insurance, benefits, police, borders,
  courts. In the European Union, inferring emotions at work and in schools is forbidden but for
  medical and safety reasons (Regulation (EU) 2024/1689, article 5).
- **Diagnosing** or watching over anybody's health, and telling lies from truth.
- **Watching people without their consent**, in public or in private, or aiming advertisements and
  prices at moods.
- Any decision about somebody that no person makes and answers for."""

LIMITS = """\
It tells which labels people would give a clip, not what anybody feels: a face, a voice and a
sentence do not say that reliably, and they say it otherwise from one person, language and culture
to another ([Barrett et al., 2019](https://doi.org/10.1177/1529100619832930)). Nothing has been
measured on other people, languages, cameras, rooms and groups than those of the corpus; expect it
to do worse there, and not equally for all."""


@dataclass(frozen=True)
class CardFacts:
    """All that a card says.

    Attributes:
        name: the model's name.
        config: settings of the run.
        manifest: of its corpus, with the splits of its fold.
        headline: which accuracy is shown.
        scores: of the test split, with intervals.
        flops: {"clips", "total", "dense"}: of the feature extraction per clip, over so many test
            clips, and of a dense one of its widths.
        parameters: how many the model has.
        licence: of the model.
        epochs: that it was trained for.
        processes: that trained it together, each on a batch of its own.
        curve: whether there is a picture of other p.
    """

    name: str
    config: ExperimentConfig
    manifest: Manifest
    headline: str
    scores: Mapping[str, Any]
    flops: Mapping[str, float]
    parameters: int
    licence: Licence
    epochs: int
    processes: int
    curve: bool


def card(facts: CardFacts) -> str:
    """The content of README.md."""
    return f"---\n{metadata(facts).to_yaml()}\n---\n\n{_text(facts)}"


def metadata(facts: CardFacts) -> ModelCardData:
    """The card's metadata, as the hub has it; empty fields are left out."""
    scores, manifest = facts.scores, facts.manifest
    terms = terms_of(manifest)
    data_name = f"{manifest.title}{' (generated)' if manifest.synthetic else ''}"
    results = []
    for metric in overall_columns(scores, facts.headline):
        kind, name = METRIC_TYPES[metric]
        if is_single_label(scores) and metric == "accuracy":
            name = "accuracy"
        results.append(
            EvalResult(
                task_type=TASK,
                task_name="Emotion recognition",
                dataset_type=manifest.corpus,
                dataset_name=data_name,
                dataset_split="test",
                metric_type=kind,
                metric_name=name,
                metric_value=round(float(scores["average"][metric]), 4),
            )
        )
    kinds = sorted({METRIC_TYPES[m][0] for m in overall_columns(scores, facts.headline)})
    return ModelCardData(
        language=terms.language if terms else None,
        license=facts.licence.identifier,
        license_name=facts.licence.name,
        license_link=facts.licence.link,
        library_name=LIBRARY,
        pipeline_tag=TASK,
        tags=[*TAGS],
        metrics=kinds,
        model_name=facts.name,
        eval_results=results,
    )


def _text(facts: CardFacts) -> str:
    manifest, scores = facts.manifest, facts.scores
    system = run_name(facts.config)
    title = escape_markdown(manifest.title)
    title = f"a corpus generated in {title}'s layout" if manifest.synthetic else title
    parts = [f"# {escape_markdown(facts.name)}", _summary(facts, system, title)]
    parts += ["## What it is for", _intended(facts)]
    parts += ["## What it must not be used for", NOT_FOR]
    parts += ["## Limits", LIMITS]
    parts += ["## Corpus and licences", _corpus(facts)]
    parts += ["## How good it is", to_markdown(scores_table(facts)).rstrip(), _calibration(scores)]
    parts += ["## What it costs", _costs(facts)]
    parts += ["## Use", _use(facts)]
    parts += ["## Training", _training(facts), "## Cite", _cite()]
    return "\n\n".join(part for part in parts if part) + "\n"


def _summary(facts: CardFacts, system: str, title: str) -> str:
    emotions = ", ".join(map(escape_markdown, facts.manifest.emotions))
    kind = "decides for one of" if is_single_label(facts.scores) else "gives probabilities of"
    first = (
        f"{escape_markdown(system)}, trained on {title}: of a short clip of one person's face, "
        f"voice and words it {kind} {len(facts.manifest.emotions)} emotions ({emotions})."
    )
    if facts.manifest.synthetic:
        first += (
            "\n\n**It knows drawn faces and made-up sounds only.** Its corpus was generated, to "
            "try the software; of real people its answers mean nothing."
        )
    return first


def _intended(facts: CardFacts) -> str:
    if facts.manifest.synthetic:
        return "To try the software: loading, predicting, looking at what the attention keeps."
    return (
        "Research: comparing models on this corpus, looking at what the attention keeps, and "
        "measuring what a sparse extraction costs. Also for trying it on recordings of your own, "
        "with the consent of whoever is in them."
    )


def _corpus(facts: CardFacts) -> str:
    manifest, terms = facts.manifest, terms_of(facts.manifest)
    told = terms.sentence if terms else "The corpus is its makers' own; its terms are not recorded."
    licence = facts.licence
    shown = f"`{licence.identifier}`"
    if licence.name is not None:
        shown = f"[{licence.name}]({licence.link}): what the corpus' terms allow"
    note = escape_markdown(corpus_note(manifest, manifest.synthetic))
    return f"{note} {told}\n\nLicence of the model: {shown}."


def scores_table(facts: CardFacts) -> Table:
    """Scores of the test split with their intervals, an emotion a line, then those of all."""
    scores, bounds = facts.scores, facts.scores["intervals"]
    columns = emotion_columns(scores, facts.headline)
    overall = overall_columns(scores, facts.headline)
    rows = [
        row(
            "",
            emotion,
            *_with_interval([values[name] for name in columns], ends, columns),
            values["positives"],
        )
        for emotion, values in scores["emotions"].items()
        for ends in (bounds["emotions"][emotion],)
    ]
    if is_single_label(scores):
        for name in overall:
            cells = _with_interval([scores["average"][name]], bounds["average"], [name])
            blank = [Cell("")] * (len(columns) - 1)
            rows.append(row("", METRIC_TYPES[name][1].partition(",")[0], *cells, *blank, ""))
    else:
        cells = _with_interval(
            [scores["average"][name] for name in columns], bounds["average"], columns
        )
        rows.append(row("", "average", *cells, scores["clips"]))
    level = f"{100 * bounds['level']:g} %"
    how = (
        f"In brackets: {level} intervals by a bootstrap over {bounds['units']} "
        f"{bounds['cluster']}s, {bounds['draws']} draws."
    )
    return Table(
        name="scores",
        title=f"Scores on {facts.manifest.title}",
        groups=(("", len(columns) + 2),),
        head=("emotion", *(SHORT_NAMES[name] for name in columns), "clips"),
        rows=tuple(rows),
        notes=(*metric_notes([scores]), how),
        provenance={},
    )


def _with_interval(
    values: Sequence[float], ends: Mapping[str, Any], columns: Sequence[str]
) -> list[Cell]:
    cells = []
    for value, name in zip(values, columns, strict=True):
        between = ends[name]
        shown = DASH if between is None else f"[{percent(between[0])}, {percent(between[1])}]"
        cells.append(Cell(f"{percent(value)} {shown}", value))
    return cells


def _calibration(scores: Mapping[str, Any]) -> str:
    found = scores.get("calibration")
    if found is None:
        return ""
    average = errors(found)
    text = f"Expected calibration error: {percent(average['ece'])} %"
    if "ece_calibrated" in average:
        text += f", {percent(average['ece_calibrated'])} % at the temperatures that come with it"
    return f"{text}. All figures stand in `{METRICS}`."


def _costs(facts: CardFacts) -> str:
    flops = facts.flops
    text = f"{facts.parameters:,} parameters."
    if flops["dense"]:
        share = flops["total"] / flops["dense"]
        text += (
            f" Feature extraction: {flops['total'] / 1e9:.4g} GFLOPs a clip (mean of "
            f"{flops['clips']:g} test clips), {percent(share, 0)} % of a dense one of the same "
            f"widths. {flops_note(False)}"
        )
    if facts.curve:
        text += f"\n\n![Quality, FLOPs and latency at other p]({CURVE})"
    return text


def _use(facts: CardFacts) -> str:
    return (
        "```python\n"
        "from mesm.publishing.load import load_published\n\n"
        'published = load_published("FOLDER")  # of this card\n'
        'sample = published.sample("clip", text, faces, spectrogram)\n'
        "logits = published.model(published.collate([sample]))\n"
        "probabilities = published.probabilities(logits.detach())\n"
        "decided = published.decider.decide(logits.detach())\n"
        "```"
    )


def _training(facts: CardFacts) -> str:
    training = facts.config.training
    return (
        f"{facts.epochs} epochs, seed {training.seed}, Adam at {training.learning_rate:g}, "
        f"{training.batch_size * facts.processes} clips a step; the weights are those of the "
        f"{'best epoch on validation' if training.keep == 'best' else 'last epoch'}."
    )


def _cite() -> str:
    title = "Multimodal End-to-End Sparse Model for Emotion Recognition"
    return f"Dai, Cahyawijaya, Liu and Fung: [{title}]({PAPER}), NAACL 2021."
