"""Raw IEMOCAP (Busso et al., 2008), as its users have it on disk."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mesm.corpora.utterances import RawCorpus, Utterance, read_lines

FOLDER = "IEMOCAP_full_release"
LAYOUT = (
    f"wanted {FOLDER} or its parent, with Session1 to Session5, each holding dialog/avi/DivX, "
    "dialog/wav, dialog/transcriptions and dialog/EmoEvaluation"
)
EMOTIONS = ("angry", "excited", "frustrated", "happy", "neutral", "sad")
# The six labels kept, in the order of the emotions.
LABELS = ("ang", "exc", "fru", "hap", "neu", "sad")
# All that `read_iemocap` opens.
READ_FIRST = ("/dialog/transcriptions/*.txt", "/dialog/EmoEvaluation/*.txt")
OTHER_LABELS = frozenset({"xxx", "sur", "oth", "fea", "dis"})

# [6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]
_EVALUATION = re.compile(r"\[\s*(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\s*\]\t(\S+)\t(\S+)(?:\t.*)?")
# Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.
_TRANSCRIPT = re.compile(r"(\S+)\s+\[\d+(?:\.\d+)?-\d+(?:\.\d+)?\]:(.*)")
_DIALOG = re.compile(r"Ses(\d\d)([FM])_\w+")


@dataclass(frozen=True)
class _Label:
    start: float
    end: float
    name: str
    line: int


def find_root(raw: Path) -> Path:
    """Find the folder that holds the sessions.

    Raises:
        ValueError: there is no IEMOCAP at or in `raw`; says what was wanted.
    """
    for root in (raw, raw / FOLDER):
        if any((session / "dialog" / "EmoEvaluation").is_dir() for session in _sessions(root)):
            return root
    raise ValueError(f"{raw} is not IEMOCAP: {LAYOUT}")


def read_iemocap(raw: Path) -> RawCorpus:
    """Read labels and transcripts; no media are opened.

    Args:
        raw: IEMOCAP_full_release or its parent.

    Returns:
        The utterances labelled with one of the six emotions, and what was left out.

    Raises:
        ValueError: `raw` is not IEMOCAP.
    """
    root = find_root(raw)
    corpus = RawCorpus("iemocap", root, home=root.parent if root.name == FOLDER else None)
    sessions = _sessions(root)
    missing = {f"Session{i}" for i in range(1, 6)} - {session.name for session in sessions}
    if missing:
        corpus.notes.append(f"not in {root.name}: {', '.join(sorted(missing))}")
    for session in sessions:
        dialogs = session / "dialog"
        names = {
            file.stem
            for folder in ("EmoEvaluation", "transcriptions")
            for file in corpus.text_files(dialogs / folder, ".txt")
        }
        for name in sorted(names):
            if _DIALOG.fullmatch(name):
                _read_dialog(corpus, dialogs, name)
            else:
                corpus.notes.append(f"passed over {name}.txt in {session.name}: not a dialog")
    corpus.sort()
    return corpus


def _sessions(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("Session[1-5]") if (path / "dialog").is_dir())


def _read_dialog(corpus: RawCorpus, dialogs: Path, dialog: str) -> None:
    evaluation = dialogs / "EmoEvaluation" / f"{dialog}.txt"
    transcript = dialogs / "transcriptions" / f"{dialog}.txt"
    for file in (evaluation, transcript):
        if file.exists() and not file.is_file():
            corpus.notes.append(f"passed over {corpus.relative(file)!r}: not a file")
    labels = _read_labels(corpus, evaluation) if evaluation.is_file() else {}
    texts = _read_texts(corpus, transcript) if transcript.is_file() else {}
    for clip_id, (_, line) in texts.items():
        if clip_id not in labels:
            corpus.skip(clip_id, "no label", transcript, line)
    for clip_id, label in labels.items():
        gender = clip_id.rpartition("_")[2][:1]
        if not clip_id.startswith(dialog + "_") or gender not in ("F", "M"):
            corpus.skip(clip_id, "not an utterance of its dialog", evaluation, label.line)
        elif not corpus.usable(clip_id, dialog, evaluation, label.line):
            continue
        elif label.name in OTHER_LABELS:
            corpus.other_labels[label.name] += 1
        elif label.name not in LABELS:
            corpus.skip(clip_id, "unknown label", evaluation, label.line, label.name)
        elif clip_id not in texts:
            corpus.skip(clip_id, "no transcript", transcript)
        elif not texts[clip_id][0]:
            corpus.skip(clip_id, "empty transcript", transcript, texts[clip_id][1])
        elif not label.end > label.start:
            corpus.skip(clip_id, "zero length", evaluation, label.line)
        else:
            # The dialog's name says who wears the markers and stands on the left.
            first = gender == dialog[5]
            corpus.utterances.append(
                Utterance(
                    clip_id=clip_id,
                    dialog=dialog,
                    speaker=dialog[:5] + gender,
                    start=label.start,
                    end=label.end,
                    text=texts[clip_id][0],
                    labels=tuple(int(label.name == name) for name in LABELS),
                    video=dialogs / "avi" / "DivX" / f"{dialog}.avi",
                    audio=dialogs / "wav" / f"{dialog}.wav",
                    half="left" if first else "right",
                    channel=0 if first else 1,
                    channels=2,
                )
            )


def _read_labels(corpus: RawCorpus, file: Path) -> dict[str, _Label]:
    labels: dict[str, _Label] = {}
    for number, line in enumerate(read_lines(file), 1):
        # Everything else in these files is a heading or one rater's opinion.
        if not line.startswith("["):
            continue
        match = _EVALUATION.fullmatch(line.rstrip())
        if match is None:
            corpus.skip("", "unreadable label", file, number, line[:80])
            continue
        start, end, clip_id, name = match.groups()
        if clip_id in labels:
            corpus.skip(clip_id, "labelled twice, first label kept", file, number)
        else:
            labels[clip_id] = _Label(float(start), float(end), name, number)
    return labels


def _read_texts(corpus: RawCorpus, file: Path) -> dict[str, tuple[str, int]]:
    texts: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(read_lines(file), 1):
        # Remarks such as "M: (laughter)" stand between the utterances.
        if not line.startswith("Ses"):
            continue
        match = _TRANSCRIPT.fullmatch(line.rstrip())
        if match is None:
            corpus.skip("", "unreadable transcript", file, number, line[:80])
        elif match[1] not in texts:
            texts[match[1]] = (match[2].strip(), number)
    return texts
