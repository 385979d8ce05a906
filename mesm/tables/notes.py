"""The sentences below the tables: what a figure means and what it was measured on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mesm.corpora.manifest import Manifest
from mesm.corpora.registry import find_corpus
from mesm.runs.scores import is_single_label

F1_VARIANTS = {
    "binary": "F1: binary, 2·TP / (2·TP + FP + FN) per emotion",
    "weighted": "wF1: the F1 of presence and of absence, averaged by their numbers of clips",
}
ACCURACY_NOTES = {
    "accuracy": "Acc: share of right decisions per emotion, one against the rest",
    "weighted_accuracy": "WAcc: (TP·N/P + TN) / (2·N) per emotion",
}
# Over the scores of all clips together, where each has exactly one emotion.
ALL_CLIPS = "all clips"
SINGLE_NOTES = (
    "Every clip has exactly one emotion, and the most probable one is decided for: there are no "
    "thresholds.",
    "Acc: share of clips decided right; UAR: unweighted average recall; WF1, MF1: the emotions' F1 "
    "weighted by their clips, and their mean; Rec, F1: of one emotion.",
)
PAPER_MARK = "the paper"


def corpus_note(manifest: Manifest, synthetic: bool | None) -> str:
    """Which corpus, whether it is real, how it was split and into how many clips."""
    name = manifest.title
    kind = {
        None: f"{name}, or a miniature corpus in its layout (not recorded when it was prepared)",
        True: f"{name}, generated and not recorded"
        if find_corpus(manifest.corpus).raw == "file"
        else f"a synthetic miniature corpus in {name}'s layout",
        False: name,
    }[synthetic]
    if manifest.options.get("split") == "folds":
        clips = sum(counts.clips for counts in manifest.counts.values())
        return f"Corpus: {kind}; {split_method(manifest.options)}; {clips} clips."
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
    if method == "fold":
        fold = options["fold"]
        return f"fold {fold['index']} of {fold['folds']} by {fold['by']}"
    if method == "folds":
        fold = options["fold"]
        return f"{fold['folds']} folds by {fold['by']}, so that every clip is tested once"
    return "how it was split is not recorded"


def f1_variant(scores: Mapping[str, Any]) -> str:
    """Which F1 a run was scored with."""
    return str(scores.get("f1_variant") or "binary")


def metric_notes(scores: Iterable[Mapping[str, Any]]) -> list[str]:
    """Split, number of clips, thresholds and metrics: each that occurs is named."""
    known = list(scores)
    splits = sorted({str(one.get("split", "test")) for one in known})
    clips = sorted({int(one["clips"]) for one in known})
    first = f"Percent on the {' and '.join(splits)} split, {' or '.join(map(str, clips))} clips."
    check_one_task(known)
    if known and is_single_label(known[0]):
        return [first, *SINGLE_NOTES]
    policies = sorted({str(one["threshold"]["policy"]) for one in known})
    accuracies = sorted({str(one["headline"]) for one in known})
    variants = sorted({f1_variant(one) for one in known})
    return [
        first,
        "Threshold per emotion: "
        + "; ".join(policies)
        + (", each run its own." if policies[0].startswith("tuned") else "."),
        "; ".join(ACCURACY_NOTES[name] for name in accuracies) + ".",
        "; ".join(F1_VARIANTS.get(name, f"F1: {name}") for name in variants)
        + "; averages are over the emotions.",
    ]


def check_one_task(scores: Iterable[Mapping[str, Any]]) -> None:
    """Refuse, with a ValueError, scores of one emotion a clip beside such of several."""
    if len({is_single_label(one) for one in scores}) > 1:
        raise ValueError(
            "runs with one emotion a clip (training.loss cross_entropy) and with several (binary) "
            "cannot stand in one table, as their scores are of other events: make one of each"
        )


def averages_group(scores: Mapping[str, Any]) -> str:
    """The name above the scores that are not of one emotion."""
    return ALL_CLIPS if is_single_label(scores) else "average"


def policy_note(scores: Mapping[str, Any]) -> str:
    """How points of several p were decided, as "Threshold: 0.5."."""
    policy = str(scores["threshold"]["policy"])
    if is_single_label(scores):
        return SINGLE_NOTES[0]
    return f"Threshold: {policy}{', anew at every p' if 'tuned' in policy else ''}."


def seeds_note(counts: Iterable[int]) -> str:
    """The meaning of ±, or why ± is missing."""
    known = sorted(set(counts))
    if known == [1]:
        return "One training seed per row, so no deviation."
    alone = " (none where there is one seed)" if 1 in known else ""
    return f"± is the sample deviation over the training seeds{alone}."


def folds_note(scores: Mapping[str, Any]) -> str:
    """How the scores of folds are pooled, of which `scores` are one."""
    how = "" if is_single_label(scores) else ", each by its own fold's thresholds,"
    return (
        f"Scores are pooled: the decisions for all folds' test clips{how} are scored at once. Over "
        "folds: mean ± sample deviation of the folds' own scores (of each fold the mean over the "
        "seeds)."
    )


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
