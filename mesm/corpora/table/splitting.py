"""Whether a table's clips can be split: every emotion everywhere, no speaker in two splits."""

from __future__ import annotations

from collections.abc import Mapping

from mesm.corpora.splits import SPLITS, SplitPolicy, split_clips
from mesm.corpora.table.problems import Problems
from mesm.corpora.utterances import RawCorpus

# So many are tried where the one that was asked for leaves a split without an emotion.
SEEDS = 100


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
    mend = "label more clips"
    if policy == "column":
        mend = "move clips there in the column split"
    elif policy is not None and not _is_whole(corpus, policy, seed):
        seeds = (one for one in range(SEEDS) if _is_whole(corpus, policy, one))
        better = next(seeds, None)
        mend = mend if better is None else f"--seed {better} has all emotions everywhere"
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


def _is_whole(corpus: RawCorpus, policy: SplitPolicy, seed: int) -> bool:
    """Whether every split has every emotion."""
    splits = split_clips(corpus.utterances, policy, seed)
    there = {name: [0] * len(corpus.emotions) for name in SPLITS}
    for utterance in corpus.utterances:
        split = splits[utterance.clip_id]
        there[split] = [max(pair) for pair in zip(there[split], utterance.labels, strict=True)]
    return all(all(found) for found in there.values())


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
