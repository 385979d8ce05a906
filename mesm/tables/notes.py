"""The sentences below the tables: what a figure means and what it was measured on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mesm.corpora.manifest import Manifest

F1_VARIANTS = {
    "binary": "F1: binary, 2·TP / (2·TP + FP + FN) per emotion",
    "weighted": "wF1: the F1 of presence and of absence, averaged by their numbers of clips",
}
ACCURACY_NOTES = {
    "accuracy": "Acc: share of right decisions per emotion, one against the rest",
    "weighted_accuracy": "WAcc: (TP·N/P + TN) / (2·N) per emotion",
}
PAPER_MARK = "the paper"


def corpus_note(manifest: Manifest, synthetic: bool | None) -> str:
    """Which corpus, whether it is real, how it was split and into how many clips."""
    name = manifest.title
    kind = {
        None: f"{name}, or a miniature corpus in its layout (not recorded when it was prepared)",
        True: f"a synthetic miniature corpus in {name}'s layout",
        False: name,
    }[synthetic]
    sizes = "/".join(str(counts.clips) for counts in manifest.counts.values())
    return f"Corpus: {kind}; {split_method(manifest.options)}; {'/'.join(manifest.counts)} {sizes}."


def split_method(options: Mapping[str, Any]) -> str:
    """How a corpus was split, from the options in its manifest."""
    method = options.get("split")
    if method == "random":
        return f"split 70/10/20 at random, seed {options.get('seed')}"
    if method == "speaker":
        return f"split with no speaker in two parts, seed {options.get('seed')}"
    if method == "group":
        return f"split with no dialog or video in two parts, seed {options.get('seed')}"
    if method == "column":
        return "split as the corpus itself says"
    if method == "lists":
        return f"split by published id lists (sha256 {str(options.get('lists'))[:12]})"
    return "how it was split is not recorded"


def f1_variant(scores: Mapping[str, Any]) -> str:
    """Which F1 a run was scored with."""
    return str(scores.get("f1_variant") or "binary")


def metric_notes(scores: Iterable[Mapping[str, Any]]) -> list[str]:
    """Split, number of clips, thresholds and metrics: each that occurs is named."""
    known = list(scores)
    splits = sorted({str(one.get("split", "test")) for one in known})
    clips = sorted({int(one["clips"]) for one in known})
    policies = sorted({str(one["threshold"]["policy"]) for one in known})
    accuracies = sorted({str(one["headline"]) for one in known})
    variants = sorted({f1_variant(one) for one in known})
    return [
        f"Percent on the {' and '.join(splits)} split, {' or '.join(map(str, clips))} clips.",
        "Threshold per emotion: "
        + "; ".join(policies)
        + (", each run its own." if policies[0].startswith("tuned") else "."),
        "; ".join(ACCURACY_NOTES[name] for name in accuracies) + ".",
        "; ".join(F1_VARIANTS.get(name, f"F1: {name}") for name in variants)
        + "; averages are over the emotions.",
    ]


def seeds_note(counts: Iterable[int]) -> str:
    """The meaning of ±, or why ± is missing."""
    known = sorted(set(counts))
    if known == [1]:
        return "One training seed per row, so no deviation."
    alone = " (none where there is one seed)" if 1 in known else ""
    return f"± is the sample deviation over the training seeds{alone}."


def flops_note(paper: bool) -> str:
    """The definition of a FLOP."""
    note = "GFLOPs: feature extraction per clip, 2 per multiply–accumulate"
    return note + ("; the paper counts 1, so its figures are doubled here." if paper else ".")


def latency_method(setting: Mapping[str, Any]) -> str:
    """How latency was measured, from the "latency_setting" of a sweep."""
    return (
        f"median of {setting['repeats']} forward passes over {setting['batch_size']} clips at "
        f"once, {setting['device']}, {setting['threads']} "
        f"thread{'s' if setting['threads'] > 1 else ''}, {setting['dtype']}"
    )


def features_note(features: object) -> str | None:
    """The features of the two-phase runs, where a run names them."""
    if not features:
        return None
    if isinstance(features, Mapping):
        features = "; ".join(f"{key}: {value}" for key, value in features.items())
    return f"Two-phase systems: {str(features).rstrip('.')}."


def paper_note(number: int) -> str:
    """Whose the marked figures are."""
    return (
        f"Marked “{PAPER_MARK}”: what the paper prints in its Table {number}, on its own split and "
        "with its own features; part of no mean."
    )


def whose_note(number: int | None, beside: bool, synthetic: bool | None) -> str:
    """Whose the marked figures are, or why there are none; empty where the paper has none.

    Args:
        number: of the paper's table; None: it has none for this corpus.
        beside: whether its figures are shown.
        synthetic: as in `corpus_note`.
    """
    if number is None:
        return ""
    return paper_note(number) if beside else no_paper_note(synthetic)


def as_paper(number: int | None) -> str:
    """The end of a title, such as "(as the paper's Table 3)"; empty: there is no such table."""
    return "" if number is None else f" (as the paper's Table {number})"


def no_paper_note(synthetic: bool | None) -> str:
    """Why the paper's figures are not there."""
    if synthetic:
        return "The paper's figures are left out: a synthetic corpus cannot be compared with them."
    return (
        "The paper's figures are left out: that the corpus is a real one is not recorded; --real "
        "says so."
    )
