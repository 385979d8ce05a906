"""Which clip trains, validates or tests."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from mesm.corpora.utterances import read_lines

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


def speaker_split(speakers: Mapping[str, str], seed: int) -> dict[str, str]:
    """Split clips about 70/10/20 such that no speaker is in two splits.

    Args:
        speakers: clip to speaker.
        seed: shuffles the speakers.

    Returns:
        Clip to split.

    Raises:
        ValueError: there are fewer than three speakers.
    """
    sizes = Counter(speakers.values())
    if len(sizes) < len(SPLITS):
        raise ValueError(
            f"a split by speaker needs at least {len(SPLITS)} speakers, got {len(sizes)}: "
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
