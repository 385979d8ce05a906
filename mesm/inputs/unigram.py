"""Learns the subwords of a Unigram model (Kudo, 2018): the same words always give the same ones.

The trainer of the tokenizers library visits words in an order that changes from run to run, and
with it the subwords it keeps among equally good ones.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping

LONGEST_PIECE = 16
# Candidates to begin with, per subword wanted.
SEEDS_PER_PIECE = 10
SHRINKING = 0.75
STEPS_PER_ROUND = 2
# Expected occurrences below which a candidate is dropped.
LEAST_COUNT = 0.5


def learn_unigram(words: Mapping[str, int], size: int) -> list[tuple[str, float]]:
    """Learn at most `size` pieces by expectation maximisation and pruning.

    Every character of the words is a piece, as far as `size` allows (the most frequent ones then),
    so whatever was seen can be written.

    Args:
        words: word to number of occurrences, at least one word.
        size: how many pieces.

    Returns:
        Pieces with the natural logarithm of their probability, the likeliest first; of equally
        likely ones the alphabetically lower first.
    """
    counts = sorted(words.items())
    characters = Counter[str]()
    for word, count in counts:
        for character in word:
            characters[character] += count
    alphabet = sorted(characters, key=lambda c: (-characters[c], c))[:size]
    probabilities = _normalise(
        {**{c: float(characters[c]) for c in alphabet}, **_seeds(counts, size)}
    )
    kept = frozenset(alphabet)
    while True:
        for _ in range(STEPS_PER_ROUND):
            expected = _expect(counts, probabilities)
            probabilities = _normalise(
                {
                    piece: max(expected.get(piece, 0.0), LEAST_COUNT)
                    for piece in probabilities
                    if piece in kept or expected.get(piece, 0.0) >= LEAST_COUNT
                }
            )
        if len(probabilities) <= size:
            break
        room = max(size, int(len(probabilities) * SHRINKING)) - len(kept)
        losses = {
            piece: expected[piece] * _advantage(piece, probabilities)
            for piece in probabilities
            if piece not in kept
        }
        best = sorted(losses, key=lambda piece: (-losses[piece], piece))[:room]
        stays = kept | set(best)
        probabilities = _normalise({p: v for p, v in probabilities.items() if p in stays})
    ranked = sorted(probabilities, key=lambda piece: (-probabilities[piece], piece))
    return [(piece, math.log(probabilities[piece])) for piece in ranked]


def _seeds(counts: list[tuple[str, int]], size: int) -> dict[str, float]:
    """Give the substrings that occur more than once and cover most text."""
    found = Counter[str]()
    for word, count in counts:
        for start in range(len(word)):
            for end in range(start + 2, min(len(word), start + LONGEST_PIECE) + 1):
                found[word[start:end]] += count
    repeated = [piece for piece, count in found.items() if count > 1]
    repeated.sort(key=lambda piece: (-found[piece] * len(piece), piece))
    return {piece: float(found[piece]) for piece in repeated[: size * SEEDS_PER_PIECE]}


def _normalise(counts: Mapping[str, float]) -> dict[str, float]:
    total = math.fsum(counts.values())
    return {piece: count / total for piece, count in counts.items()}


def _expect(counts: list[tuple[str, int]], probabilities: Mapping[str, float]) -> dict[str, float]:
    """Count how often each piece occurs on average over the segmentations of all words."""
    expected: dict[str, float] = defaultdict(float)
    for word, count in counts:
        length = len(word)
        edges = [
            (start, end, piece, probabilities[piece])
            for end in range(1, length + 1)
            for start in range(max(0, end - LONGEST_PIECE), end)
            if (piece := word[start:end]) in probabilities
        ]
        forward = [1.0] + [0.0] * length
        for start, end, _, probability in edges:
            forward[end] += forward[start] * probability
        if forward[length] == 0.0:
            continue  # a character found no room, or the word is hundreds of letters long
        backward = [0.0] * length + [1.0]
        for start, end, _, probability in reversed(edges):
            backward[start] += backward[end] * probability
        for start, end, piece, probability in edges:
            share = forward[start] * probability * backward[end] / forward[length]
            expected[piece] += count * share
    return expected


def _advantage(piece: str, probabilities: Mapping[str, float]) -> float:
    """Compare a piece's log-probability with that of the best way to write it with others."""
    best = [0.0] + [-math.inf] * len(piece)
    for end in range(1, len(piece) + 1):
        for start in range(end):
            part = piece[start:end]
            if part != piece and part in probabilities:
                best[end] = max(best[end], best[start] + math.log(probabilities[part]))
    return math.log(probabilities[piece]) - best[-1]
