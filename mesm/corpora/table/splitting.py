"""Whether a table's clips can be split: every emotion everywhere, no speaker in two splits."""

from __future__ import annotations

from collections.abc import Mapping

from mesm.corpora.splits import SPLITS, SplitPolicy, split_clips
from mesm.corpora.table.problems import Problems
from mesm.corpora.utterances import RawCorpus


def check_splits(
    corpus: RawCorpus,
    policy: SplitPolicy | None,
    seed: int,
    problems: Problems,
) -> None:
    """Note what is wrong with the splits that a table's clips will have.

    Args:
        corpus: whose utterances are split.
        policy: how; None: unknown, and then emotions are looked for in all clips together.
        seed: of the split.
        problems: where it goes.
    """
    utterances = corpus.utterances
    if not utterances:
        problems.add(None, None, "no clip has an emotion of --labels")
        return
    if policy is None:
        splits = {utterance.clip_id: "any" for utterance in utterances}
    else:
        try:
            splits = split_clips(utterances, policy, seed)
        except ValueError as error:
            problems.add(None, None, error)
            return
    mend = {
        "column": "move clips there in the column split",
        "random": "label more clips, or choose another --seed or --split",
    }.get(policy or "any", "label more clips, or choose another --split")
    leave = "or leave the emotion out by --labels"
    for split in ("any",) if policy is None else SPLITS:
        there = [u for u in utterances if splits[u.clip_id] == split]
        if not there:
            problems.add(None, "split", f"the {split} split has no clip; {mend}")
            continue
        for place, emotion in enumerate(corpus.emotions):
            if not any(utterance.labels[place] for utterance in there):
                which = "no clip" if policy is None else f"no clip of the {split} split"
                problems.add(None, "emotion", f"{which} is {emotion}; {mend}, {leave}")
    if corpus.single_label and len(corpus.emotions) == 1:
        told = f"every clip is {corpus.emotions[0]}: there is nothing to tell apart"
        problems.add(None, "emotion", f"{told}; leave the cell of other clips empty")


def check_speakers(corpus: RawCorpus, lines: Mapping[str, int], problems: Problems) -> None:
    """Note speakers that the table's own splits have in two of them."""
    placed: dict[str, str] = {}
    for utterance in sorted(corpus.utterances, key=lambda u: lines[u.clip_id]):
        speaker, split = utterance.speaker, utterance.split
        if split is not None and placed.setdefault(speaker, split) != split:
            told = f"{speaker!r} is in {split} here, and in {placed[speaker]} above"
            mend = "a speaker belongs into one split; --split speaker makes such splits"
            problems.add(lines[utterance.clip_id], "speaker", f"{told}; {mend}")
            placed[speaker] = split
