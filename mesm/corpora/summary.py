"""The counts of a prepared corpus, in words for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mesm.config.modalities import Modality
from mesm.corpora.manifest import MANIFEST, Manifest
from mesm.corpora.utterances import Utterance

# How a split gets other clips, by the way that it was made.
_OTHERS = {
    "column": "put other clips there in the corpus' own split, or take another --split and folder",
    "lists": "take other lists and another folder",
}
_SEED = "take another --seed and folder"
# The meaning of an emotion that no clip of a split has.
_UNKNOWN = {
    "train": "which cannot be learnt then",
    "valid": "of which validation then says nothing",
    "test": "of which test scores then say nothing",
}
# The meaning of a split without clips; training ones there always are.
_REFUSED = {
    "valid": "so every training on these splits will be refused, though not on folds",
    "test": "so no run on these splits can be scored, though on folds",
}
_MOST_NAMED = 6


def summary(manifest: Manifest) -> str:
    """Lay out the counts per label and split, as the paper's Tables 1 and 2."""
    lines = [f"{'':12s}{'words':>8s}{'seconds':>9s}{'train':>7s}{'valid':>7s}{'test':>7s}"]
    for name, average in manifest.averages.items():
        sizes = [c.clips if name == "all" else c.labels[name] for c in manifest.counts.values()]
        lines.append(
            f"{name:12s}{average.words:8.2f}{average.seconds:9.2f}"
            + "".join(f"{size:7d}" for size in sizes)
        )
    faces = manifest.faces
    lines.append(f"faces found in {faces.found} of {faces.frames} frames")
    if faces.frames and not faces.found:
        rest = manifest.modalities.replace(Modality.VIDEO.letter, "")
        mend = f"train with model.modalities={rest}" if rest else "there is nothing to learn from"
        lines.append(
            "no face anywhere: every picture is the middle of its frame, of which nothing can be "
            "learnt; where there are small ones, prepare into another folder with a smaller "
            f"--min-face-size; where there are none, {mend}"
        )
    if manifest.skipped_by_reason:
        reasons = ", ".join(f"{n} {reason}" for reason, n in manifest.skipped_by_reason.items())
        lines.append(f"skipped: {reasons}")
    for name, clips in manifest.without.items():
        lines.append(f"without {name}: {len(clips)} clips, see {MANIFEST}")
    for name, clips in (("unlisted", manifest.unlisted), ("missing", manifest.missing)):
        if clips:
            lines.append(f"{name}: {len(clips)} clips, see {MANIFEST}")
    return "\n".join(lines)


def empty_splits(manifest: Manifest) -> list[str]:
    """The splits without a clip, for which trainings on the corpus' own splits are refused."""
    return [split for split, counts in manifest.counts.items() if not counts.clips]


def lacks(manifest: Manifest, utterances: Iterable[Utterance]) -> list[str]:
    """List all that a training or a scoring on a corpus will lack, a line each with its mend.

    Splits without a clip, or without a clip of some emotion; and speakers of whom none is left,
    where speakers are known.

    Args:
        manifest: of the prepared corpus.
        utterances: all that were to be prepared.
    """
    mend = _OTHERS.get(str(manifest.options.get("split")), _SEED)
    if manifest.skipped:
        mend = f"mend the clips that were left out, see {MANIFEST}, and prepare again; or {mend}"
    never = {
        emotion
        for emotion in manifest.emotions
        if not any(counts.labels.get(emotion) for counts in manifest.counts.values())
    }
    lines = []
    if never:
        lines.append(f"no clip is {_names(manifest.emotions, never)}, {_UNKNOWN['train']}; {mend}")
    for split, counts in manifest.counts.items():
        there = {emotion for emotion, clips in counts.labels.items() if clips}
        lacking = set(manifest.emotions) - there - never
        if not counts.clips:
            lines.append(f"the {split} split has no clip, {_REFUSED[split]}; {mend}")
        elif lacking:
            named = _names(manifest.emotions, lacking)
            lines.append(f"no clip of the {split} split is {named}, {_UNKNOWN[split]}; {mend}")
    return [*lines, *_lost_speakers(manifest, utterances)]


def _lost_speakers(manifest: Manifest, utterances: Iterable[Utterance]) -> list[str]:
    left_out = {clip.clip_id for clip in manifest.skipped}
    known: dict[str, bool] = {}
    named = False
    for utterance in utterances:
        # A video stands for its speaker where nobody knows who speaks.
        named = named or utterance.speaker != utterance.dialog
        there = utterance.clip_id not in left_out
        known[utterance.speaker] = there or known.get(utterance.speaker, False)
    lost = [speaker for speaker, there in sorted(known.items()) if not there]
    if not (named and lost):
        return []
    more = f" and {len(lost) - _MOST_NAMED} more" if len(lost) > _MOST_NAMED else ""
    return [
        f"of {len(lost)} of {len(known)} speakers no clip is left ({', '.join(lost[:_MOST_NAMED])}"
        f"{more}), and folds by speaker will lack them; mend the clips that were left out, see "
        f"{MANIFEST}, and prepare again"
    ]


def _names(order: Sequence[str], some: set[str]) -> str:
    return " or ".join(emotion for emotion in order if emotion in some)
