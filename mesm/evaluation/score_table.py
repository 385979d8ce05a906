"""Scores, and differences of scores, as tables for the terminal; each names what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesm.evaluation.calibration import diagrams
from mesm.evaluation.metrics import SHORT_NAMES, f1_key, overall_columns
from mesm.runs.scores import is_single_label

# As the terminal has the scores of all clips together, where each has exactly one emotion.
NAMES = {
    "accuracy": "accuracy",
    "uar": "unweighted average recall",
    "weighted_f1": "weighted F1",
    "macro_f1": "macro F1",
}
OF_ONE_EMOTION = ("precision", "recall", "f1")


def format_table(scores: Mapping[str, Any], accuracy_name: str) -> str:
    """A table in percent, one line per emotion and the average; names threshold and F1 variant.

    Args:
        scores: what `mesm.evaluation.metrics.score` gave, or
            `mesm.evaluation.single_label.score_single`; with "intervals" from
            `mesm.evaluation.bootstrap.intervals` they stand behind the values.
        accuracy_name: "accuracy" (IEMOCAP) or "weighted_accuracy" (CMU-MOSEI).
    """
    if is_single_label(scores):
        return _format_single(scores)
    columns = (accuracy_name, f1_key(scores))
    bounds = scores.get("intervals")
    thresholds = scores["threshold"]["values"]
    wide = 16 if bounds else 0
    heads = "".join(f"{SHORT_NAMES[name]:>8}{_percent_level(bounds):>{wide}}" for name in columns)
    lines = [f"{'emotion':<12}{heads}{'clips':>8}{'threshold':>11}"]
    for emotion, values in [*scores["emotions"].items(), ("average", scores["average"])]:
        last = emotion not in scores["emotions"]
        ends = (bounds["average"] if last else bounds["emotions"][emotion]) if bounds else {}
        cells = "".join(
            f"{100 * values[name]:>8.1f}{_interval(ends, name):>{wide}}" for name in columns
        )
        clips = scores["clips"] if last else values["positives"]
        threshold = "" if last else f"{thresholds[emotion]:>11.2f}"
        lines.append(f"{emotion:<12}{cells}{clips:>8}{threshold}")
    lines.append(_variants(scores))
    if bounds:
        lines.append(_method(bounds))
    return "\n".join(lines)


def _format_single(scores: Mapping[str, Any]) -> str:
    """Precision, recall and F1 per emotion, and the scores of all clips below."""
    bounds = scores.get("intervals")
    wide = 16 if bounds else 0
    level = f"{_percent_level(bounds):>{wide}}"
    heads = "".join(f"{SHORT_NAMES[name]:>8}{level}" for name in OF_ONE_EMOTION)
    lines = [f"{'emotion':<12}{heads}{'clips':>8}{'decided':>9}"]
    for emotion, values in scores["emotions"].items():
        ends = bounds["emotions"][emotion] if bounds else {}
        cells = "".join(
            f"{100 * values[name]:>8.1f}{_interval(ends, name):>{wide}}" for name in OF_ONE_EMOTION
        )
        lines.append(f"{emotion:<12}{cells}{values['positives']:>8}{values['decided']:>9}")
    lines.append(f"{'all ' + str(scores['clips']) + ' clips':<36}{level}".rstrip())
    for name, title in NAMES.items():
        ends = _interval(bounds["average"] if bounds else {}, name)
        lines.append(f"{title:<28}{100 * scores['average'][name]:>8.1f}{ends:>{wide}}")
    lines.append(_variants(scores))
    if bounds:
        lines.append(_method(bounds))
    return "\n".join(lines)


def format_branches(scores: Mapping[str, Any], accuracy_name: str) -> str:
    """A line per branch with the average of its own scores in percent, and one with the fused.

    Args:
        scores: with "branches" from `mesm.evaluation.evaluate.score_run`.
        accuracy_name: as in `format_table`.
    """
    columns = overall_columns(scores, accuracy_name)
    lines = [f"{'branch alone':<12}{''.join(f'{SHORT_NAMES[name]:>8}' for name in columns)}"]
    for branch, found in {**scores["branches"], "all, fused": scores}.items():
        cells = "".join(f"{100 * found['average'][name]:>8.1f}" for name in columns)
        lines.append(f"{branch:<12}{cells}")
    return "\n".join(lines)


def format_calibration(calibration: Mapping[str, Any]) -> str:
    """Calibration errors in percent, before and after the temperatures; says what they are.

    Args:
        calibration: what `mesm.evaluation.calibration.calibration_of` gave, or
            `mesm.evaluation.softmax_calibration.softmax_calibration_of`.
    """
    rows, wide = diagrams(calibration), 12
    if "average" in calibration:
        rows["average"] = calibration["average"]
    else:
        wide = 24  # for a longer name
    fitted = calibration.get("fitted")
    heads = {"ece": "ECE", "ece_calibrated": "at T"} if fitted else {"ece": "ECE"}
    ends = f"{'T':>8}" if fitted else ""
    lines = [f"{'calibration':<{wide}}{''.join(f'{head:>8}' for head in heads.values())}{ends}"]
    for emotion, values in rows.items():
        cells = "".join(f"{100 * values[name]:>8.1f}" for name in heads)
        temperature = f"{values['temperature']:>8.2f}" if "temperature" in values else ""
        lines.append(f"{emotion:<{wide}}{cells}{temperature}")
    if fitted:
        source = f"T: temperature, fitted to {fitted['clips']} {fitted['split']} clips"
    else:
        source = "no temperatures are kept; `--split valid` fits them"
    lines.append(f"ECE: expected calibration error, {calibration['bins']} bins; {source}")
    alike: dict[str, list[str]] = {}
    for emotion, note in (fitted["notes"] if fitted else {}).items():
        alike.setdefault(note, []).append(emotion)
    lines += [f"T of {', '.join(emotions)}: {note}" for note, emotions in alike.items()]
    return "\n".join(lines)


def format_differences(differences: Mapping[str, Any], accuracy_name: str) -> str:
    """A table in percentage points: first minus second, with intervals.

    Args:
        differences: what `mesm.evaluation.against.compare_runs` gave.
        accuracy_name: as in `format_table`.
    """
    single = is_single_label(differences)
    columns = OF_ONE_EMOTION if single else (accuracy_name, f1_key(differences))
    wide = 18
    heads = "".join(
        f"{SHORT_NAMES[name]:>8}{_percent_level(differences):>{wide}}" for name in columns
    )
    lines = [f"{'emotion':<12}{heads}"]
    averages = [] if single else [("average", differences["average"])]
    for emotion, values in [*differences["emotions"].items(), *averages]:
        cells = "".join(
            f"{100 * values[name]['difference']:>+8.1f}"
            f"{_interval(values[name], 'interval', '+'):>{wide}}"
            for name in columns
        )
        lines.append(f"{emotion:<12}{cells}")
    if single:
        lines.append("all clips")
    for name, title in NAMES.items() if single else ():
        found = differences["average"][name]
        cells = f"{100 * found['difference']:>+8.1f}{_interval(found, 'interval', '+'):>{wide}}"
        lines.append(f"{title:<28}{cells}")
    lines += [_variants(differences), _method(differences)]
    return "\n".join(lines)


def _variants(scores: Mapping[str, Any]) -> str:
    if is_single_label(scores):
        return "decided for: the most probable emotion (argmax); there are no thresholds"
    return f"threshold: {scores['threshold']['policy']}; F1: {scores.get('f1_variant', 'binary')}"


def _method(facts: Mapping[str, Any]) -> str:
    return (
        f"intervals: {_percent_level(facts)}, {facts['method']} over {facts['units']} "
        f"{facts['cluster']}s, {facts['draws']} draws"
        + (f"; thresholds {facts['thresholds']}" if "thresholds" in facts else "")
    )


def _percent_level(facts: Mapping[str, Any] | None) -> str:
    return f"{100 * facts['level']:g} %" if facts else ""


def _interval(ends: Mapping[str, Any], name: str, sign: str = "") -> str:
    if not ends:
        return ""
    if ends[name] is None:
        return "–"
    low, high = ends[name]
    return f"[{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"
