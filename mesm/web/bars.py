"""Predictions and costs as HTML that fits any width, in the colours of a light or a dark page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mesm.inference.results import NO_FACE, Prediction
from mesm.web.costs import Cost
from mesm.web.sites import percent
from mesm.web.studio import View

_HELP = {
    "text": "No words: type what is said, and it is asked again.",
    "part": "No words: upload the recording's subtitles, and it is asked again.",
    "sound": "No sound: only words and pictures count.",
    "pictures": "No pictures: only words and sound count.",
}


def verdict(view: View) -> str:
    """The emotions of a piece: those decided for, a bar for each, and what was missing."""
    one = view.prediction
    chips = "".join(f'<span class="chip">{escape(name)}</span>' for name in one.decided)
    if not chips:
        chips = '<span class="chip none">none above its threshold</span>'
    best = max(one.probabilities, key=lambda name: one.probabilities[name])
    rows = "".join(_bar(one, name, name == best) for name in one.probabilities)
    said, remarks = "", _remarks(one, len(view.looked.pieces) > 1)
    if one.text and one.text.strip():
        said = f'<p class="said">“{escape(" ".join(one.text.split())[:300])}”</p>'
    return (
        f'<section class="mesm verdict" aria-live="polite"><p class="where">{_where(view)}</p>'
        f'<p class="chips">{chips}</p>{said}<div class="bars">{rows}</div>{remarks}</section>'
    )


def _where(view: View) -> str:
    one = view.prediction
    count = len(view.looked.pieces)
    piece = f", piece {view.place + 1} of {count}" if count > 1 else ""
    return f"{escape(view.looked.name)}{piece} · {one.start:.1f} s to {one.end:.1f} s"


def _bar(one: Prediction, name: str, best: bool) -> str:
    value = 100 * one.probabilities[name]
    kind = "decided" if name in one.decided else "other"
    mark = ""
    if one.thresholds is not None:
        at = 100 * one.thresholds[name]
        mark = f'<u style="left:{at:.1f}%" title="decided for above {at:.0f} %"></u>'
    return (
        f'<div class="bar {kind}{" best" if best else ""}"><span>{escape(name)}</span>'
        f'<div class="track" role="img" aria-label="{escape(name)}: {value:.0f} percent">'
        f'<i style="width:{value:.2f}%"></i>{mark}</div>'
        f'<b data-emotion="{escape(name)}">{value:.1f} %</b></div>'
    )


def _remarks(one: Prediction, several: bool) -> str:
    found = [_HELP["part"] if name == "text" and several else _HELP[name] for name in one.missing]
    if one.frames:
        found.append(f"A face was found in {one.faces} of {one.frames} frames looked at.")
    if one.people > 1:
        found.append(f"{one.people} people were seen; the largest face counts.")
    # The count of frames has said so.
    notes = [note for note in one.notes if note != NO_FACE]
    found += [f"{note[:1].upper()}{note[1:]}." for note in notes]
    if one.thresholds is not None:
        found.append(f"The thin line is the threshold ({one.policy}).")
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in found) + "</ul>"


def course(view: View) -> str:
    """Every emotion over the whole recording, a step per piece; empty where there is one piece."""
    shown = view.looked.predictions
    if len(shown) < 2:
        return ""
    start, end = shown[0].start, max(one.end for one in shown)
    length = max(end - start, 1e-6)
    rows = []
    for name in shown[0].probabilities:
        steps = "".join(
            f'<i class="{"decided" if name in one.decided else "other"}'
            f'{" here" if place == view.place else ""}" '
            f'style="left:{100 * (one.start - start) / length:.2f}%;'
            f"width:{100 * (one.end - one.start) / length:.2f}%;"
            f'height:{max(2.0, 100 * one.probabilities[name]):.1f}%" '
            f'title="{one.start:.1f} s: {escape(name)} {100 * one.probabilities[name]:.0f} %"></i>'
            for place, one in enumerate(shown)
        )
        rows.append(
            f'<div class="lane"><span>{escape(name)}</span><div class="track">{steps}</div></div>'
        )
    ticks = "".join(f"<span>{start + length * share:.0f} s</span>" for share in (0, 0.5, 1))
    return (
        '<section class="mesm course" aria-label="emotions over time"><h3>Over time</h3>'
        f'{"".join(rows)}<div class="axis"><span></span><div>{ticks}</div></div></section>'
    )


def costs(view: View, title: str) -> str:
    """FLOPs, time and kept sites of the run, beside those of a dense network.

    Args:
        view: with its costs.
        title: of the run's system.
    """
    own, dense = view.cost, view.dense
    rival, flops = "FE2E", own.dense_flops
    if dense is not None:
        flops = dense.flops
    else:
        rival = "dense"
    rows = [
        _pair(
            "FLOPs of the feature extraction",
            (title, own.flops, flop_text(own.flops), "flops"),
            (rival, flops, flop_text(flops), "dense-flops"),
        )
    ]
    if dense is not None:
        rows.append(
            _pair(
                "Time of the whole model",
                (title, own.milliseconds, f"{own.milliseconds:.1f} ms", "ms"),
                (rival, dense.milliseconds, f"{dense.milliseconds:.1f} ms", "dense-ms"),
            )
        )
    else:
        rows.append(
            f'<p class="line">Time of the whole model: <b data-figure="ms">'
            f"{own.milliseconds:.1f} ms</b></p>"
        )
    if view.dense_prediction is not None:
        one = view.dense_prediction
        says = ", ".join(one.decided) or "none"
        best = max(one.probabilities, key=lambda name: one.probabilities[name])
        rows.append(
            f'<p class="line">FE2E decides for <b>{escape(says)}</b> '
            f"(highest: {escape(best)}, {100 * one.probabilities[best]:.0f} %).</p>"
        )
    note = "Measured just now on this machine, on this piece; 1 FLOP is one multiply or one add."
    if dense is None:
        note += " Dense: convolutions as wide at every site, whose FLOPs are reckoned."
    return (
        f'<section class="mesm costs" aria-live="polite"><h3>What it costs</h3>{_kept(own)}'
        f'{"".join(rows)}<p class="small">{note}</p></section>'
    )


def _kept(own: Cost) -> str:
    if not own.kept:
        return ""
    cells = []
    for name, shares in own.kept.items():
        blocks = " · ".join(map(percent, shares))
        mean = sum(shares) / len(shares)
        of = "face" if name == "face" else "sound"
        cells.append(
            f'<div class="kept"><span>{of}: sites kept</span>'
            f'<b data-figure="kept-{name}">{100 * mean:.1f} %</b><em>blocks 1, 2, 3: {blocks}</em>'
            "</div>"
        )
    return f'<div class="kepts">{"".join(cells)}</div>'


def _pair(title: str, *rows: tuple[str, float, str, str]) -> str:
    most = max(value for _, value, _, _ in rows) or 1.0
    lines = "".join(
        f'<div class="bar {kind}"><span>{escape(name)}</span><div class="track" '
        f'aria-hidden="true"><i style="width:{100 * value / most:.2f}%"></i></div>'
        f'<b data-figure="{key}">{text}</b></div>'
        for (name, value, text, key), kind in zip(rows, ("decided", "other"), strict=True)
    )
    share = f" · {100 * rows[0][1] / rows[1][1]:.0f} %" if rows[1][1] else ""
    return f'<div class="pair"><p class="line">{escape(title)}{share}</p>{lines}</div>'


def flop_text(count: float) -> str:
    """A count in words: 12.3 MFLOP."""
    for unit, size in (("GFLOP", 1e9), ("MFLOP", 1e6), ("kFLOP", 1e3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count:.0f} FLOP"


def trouble(message: str) -> str:
    """A refusal, to be read in the page."""
    return (
        f'<section class="mesm trouble" role="alert"><h3>That did not work</h3>'
        f"<p>{escape(message)}</p></section>"
    )


def empty(words: Sequence[str]) -> str:
    """The place of results before there are any."""
    lines = "".join(f"<li>{escape(word)}</li>" for word in words)
    return f'<section class="mesm empty"><h3>How it works</h3><ol>{lines}</ol></section>'
