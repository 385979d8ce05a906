"""Which clip trains, validates or tests."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from mesm.corpora.utterances import Utterance, read_lines

# At random; no speaker, or no group (dialog, video), in two splits; or as the corpus itself says.
SplitPolicy = Literal["random", "speaker", "group", "column"]
SPLITS = ("train", "valid", "test")
# In tenths: 70/10/20.
SHARES = {"train": 7, "valid": 1, "test": 2}


def random_split(clips: Iterable[str], seed: int) -> dict[str, str]:
    """Split clips 70/10/20 at random.

    Each clip is placed by a hash of its name and the seed, so the order on disk does not matter.
    From three clips on no split is empty.

    Returns:
        Clip to split.
    """
    ranked = shuffled(clips, seed)
    counts = {name: len(ranked) * SHARES[name] // 10 for name in ("valid", "test")}
    if len(ranked) >= len(SPLITS):
        counts = {name: max(1, count) for name, count in counts.items()}
    train = len(ranked) - sum(counts.values())
    return {
        clip: "train" if i < train else "valid" if i < train + counts["valid"] else "test"
        for i, clip in enumerate(ranked)
    }


def speaker_split(speakers: Mapping[str, str], seed: int, unit: str = "speaker") -> dict[str, str]:
    """Split clips about 70/10/20 such that no speaker, or no group, is in two splits.

    Args:
        speakers: clip to speaker, or to group.
        seed: shuffles the speakers.
        unit: what they are, for the message.

    Returns:
        Clip to split.

    Raises:
        ValueError: there are fewer than three speakers.
    """
    sizes = Counter(speakers.values())
    if len(sizes) < len(SPLITS):
        raise ValueError(
            f"a split by {unit} needs at least {len(SPLITS)} {unit}s, got {len(sizes)}: "
            f"{', '.join(sorted(sizes))}"
        )
    ranked = shuffled(sizes, seed)
    lacking = {name: len(speakers) * SHARES[name] / 10 for name in SPLITS}
    placed: dict[str, str] = {}
    for i, speaker in enumerate(ranked):
        empty = [name for name in SPLITS if name not in placed.values()]
        open_splits = empty if len(ranked) - i <= len(empty) else SPLITS
        placed[speaker] = max(open_splits, key=lambda name: lacking[name])
        lacking[placed[speaker]] -= sizes[speaker]
    return {clip: placed[speaker] for clip, speaker in speakers.items()}


def split_clips(utterances: Sequence[Utterance], policy: SplitPolicy, seed: int) -> dict[str, str]:
    """Split clips by a policy: clip to split.

    Raises:
        ValueError: there are too few speakers or groups, or the corpus says of some clips, or of
            all, no split.
    """
    if policy == "speaker":
        return speaker_split({u.clip_id: u.speaker for u in utterances}, seed)
    if policy == "group":
        return speaker_split({u.clip_id: u.dialog for u in utterances}, seed, "group")
    if policy == "random":
        return random_split([u.clip_id for u in utterances], seed)
    lacking = [u.clip_id for u in utterances if u.split is None]
    if lacking:
        raise ValueError(
            f"{len(lacking)} of {len(utterances)} clips have no split of their own, such as "
            f"{lacking[0]}: give each its split, or choose another --split"
        )
    return {u.clip_id: u.split for u in utterances if u.split is not None}


def read_split_lists(folder: Path, corpus: str) -> dict[str, str]:
    """Read published id lists: <corpus>_train.txt, _valid.txt and _test.txt, one clip a line.

    Returns:
        Clip to split.

    Raises:
        ValueError: a list is missing or empty, or a clip is listed twice; names file and line.
    """
    files = {name: folder / f"{corpus}_{name}.txt" for name in SPLITS}
    missing = [file.name for file in files.values() if not file.exists()]
    if missing:
        raise ValueError(f"{folder} has no {', '.join(missing)}: wanted one list per split")
    splits: dict[str, str] = {}
    for name, file in files.items():
        for number, line in enumerate(read_lines(file), 1):
            clip = line.strip()
            if not clip:
                continue
            if clip in splits:
                raise ValueError(f"{file}:{number}: {clip} is already listed in {splits[clip]}")
            splits[clip] = name
        if name not in splits.values():
            raise ValueError(f"{file} lists no clip")
    return splits


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """The names, each once, in an order that a hash of each with the seed gives."""
    return sorted(
        set(names), key=lambda name: (hashlib.sha256(f"{seed}:{name}".encode()).digest(), name)
    )
