"""Which model the page shows, and what its answers are worth."""

from __future__ import annotations

from html import escape
from pathlib import Path

from mesm.config.p import p_text
from mesm.publishing.contents import CARD
from mesm.web.studio import Studio

_DRAWN = (
    "It was trained on drawn faces and made-up voices. On people, its answers mean nothing: look "
    "at how it works, not at what it says about you."
)
_PEOPLE = (
    "It tells which label people would give such a clip, not what anybody feels. It must not be "
    "used to judge people, nor to watch them without their consent."
)


def head(studio: Studio) -> str:
    """The page's head: model, corpus, and a word of warning."""
    trained = studio.pipeline.trained
    corpus = trained.preprocessing
    kind = "a generated corpus in the form of" if corpus.synthetic else "the corpus"
    facts = [
        f"<b>{escape(trained.title)}</b>",
        f"trained on {kind} <b>{escape(corpus.title)}</b>",
        f"reads {escape(_and(trained.reads))}",
    ]
    if studio.own_p is not None:
        facts.append(f"p = {escape(p_text(studio.own_p))}")
    if studio.dense is not None:
        facts.append(f"beside <b>{escape(studio.dense.trained.title)}</b>")
    warning = _DRAWN if corpus.synthetic else _PEOPLE
    kind = "drawn" if corpus.synthetic else "people"
    return (
        '<header class="mesm head"><h1>Which emotion, and where does it look?</h1>'
        f'<p class="facts">{" · ".join(facts)}</p>'
        f'<p class="warning {kind}" role="note">{escape(warning)}</p></header>'
    )


def details(studio: Studio) -> str:
    """All that is known of the model, for the page's foot."""
    trained = studio.pipeline.trained
    parameters = sum(one.numel() for one in trained.model.parameters())
    rows = {
        "Folder": trained.path.name,
        "Emotions": ", ".join(trained.emotions),
        "One emotion a clip": "yes" if trained.preprocessing.single_label else "no",
        "Thresholds": trained.decider.policy,
        "Parameters": f"{parameters:,}",
        "Weights (SHA-256)": trained.weights[:16] + "…",
        "Limits": f"{studio.limits.megabytes} MB, {studio.limits.minutes:g} minutes",
    }
    if (Path(trained.path) / CARD).is_file():
        rows["Model card"] = f"{CARD} in its folder says how good it is, and what it is not for"
    lines = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows.items())
    notes = "".join(f"<p>{escape(note)}</p>" for note in trained.notes)
    private = (
        "Nothing leaves this machine. Uploads are deleted when you close the page, and at "
        "the latest when the server ends."
    )
    return f'<footer class="mesm foot"><dl>{lines}</dl>{notes}<p>{private}</p></footer>'


def _and(names: tuple[str, ...]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
