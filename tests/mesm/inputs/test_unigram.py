import math
import subprocess
import sys

import pytest

from mesm.inputs.unigram import LONGEST_PIECE, learn_unigram

WORDS = {"▁happy": 20, "▁unhappy": 10, "▁happily": 8, "▁sad": 20, "▁sadly": 9, "▁unlock": 5}


def test_frequent_words_and_their_parts_are_pieces():
    pieces = dict(learn_unigram(WORDS, 30))
    assert {"▁happy", "▁sad"} <= pieces.keys()
    assert set("".join(WORDS)) <= pieces.keys()
    assert len(pieces) <= 30
    assert math.fsum(math.exp(score) for score in pieces.values()) == pytest.approx(1)


def test_expected_counts_against_all_segmentations():
    from mesm.inputs.unigram import _expect

    probabilities = {"a": 0.4, "b": 0.3, "ab": 0.2, "aba": 0.1}
    # a|b|a, ab|a and aba
    ways = {("a", "b", "a"): 0.4 * 0.3 * 0.4, ("ab", "a"): 0.2 * 0.4, ("aba",): 0.1}
    total = sum(ways.values())
    wanted = {
        piece: 3 * sum(way.count(piece) * weight for way, weight in ways.items()) / total
        for piece in probabilities
    }
    assert _expect([("aba", 3)], probabilities) == pytest.approx(wanted)


def test_order_does_not_matter_even_among_equals():
    words = {f"▁{a}{b}": 2 for a in ("ka", "lo", "mi") for b in ("ta", "re", "so", "nu")}
    first = learn_unigram(words, 24)
    assert learn_unigram(dict(reversed(words.items())), 24) == first
    code = f"from mesm.inputs.unigram import learn_unigram; print(learn_unigram({words!r}, 24))"
    for seed in ("1", "2"):
        printed = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert printed.strip() == repr(first)


def test_a_small_size_keeps_the_most_frequent_characters():
    pieces = learn_unigram({"aab": 3, "c": 1}, 2)
    assert {piece for piece, _ in pieces} == {"a", "b"}


def test_long_words_are_no_trouble():
    pieces = learn_unigram({"x" * 400: 2, "y": 1}, 10)
    assert all(len(piece) <= LONGEST_PIECE and math.isfinite(score) for piece, score in pieces)
