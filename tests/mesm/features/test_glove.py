import gzip
import re

import numpy as np
import pytest

from mesm.features.glove import read_vectors


def line(word, value):
    return f"{word} " + " ".join(f"{value + i / 1000:.3f}" for i in range(300))


LINES = [
    line(",", 9),
    line("the", 1),
    line("The", 2),
    line(". .", 3),  # a word with a blank, as glove.840B has
    line(".", 4),
    line("n't", 5),
    line("the", 6),  # the first counts
    line("grün", 7),
]


@pytest.fixture(params=["plain", "gzip", "no newline at the end"])
def file(request, tmp_path):
    text = "\n".join(LINES) + ("" if "no newline" in request.param else "\n")
    path = tmp_path / "vectors.txt"
    path.write_bytes(gzip.compress(text.encode()) if request.param == "gzip" else text.encode())
    return path


def test_words_are_found_as_they_are_or_in_lower_case(file):
    vectors = read_vectors(file, ["The", "THE", "the", ". .", ".", "N'T", "none", "Grün"])
    assert list(vectors) == ["The", "THE", "the", ". .", ".", "N'T", "Grün"]
    firsts = {word: vector[0] for word, vector in vectors.items()}
    assert firsts == {"The": 2, "THE": 1, "the": 1, ". .": 3, ".": 4, "N'T": 5, "Grün": 7}
    for vector in vectors.values():
        assert vector.dtype == np.float32
        # Three decimals were written.
        np.testing.assert_allclose(vector - vector[0], np.arange(300) / 1000, atol=1e-6)


def refusal(path, content, words=("the",)):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError) as error:
        read_vectors(path, words)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_no_such_file_is_refused(tmp_path):
    path = tmp_path / "v.txt"
    assert "empty" in refusal(path, "")
    short = refusal(path, f"{LINES[0]}\nword 1.0 2.0\n")
    assert re.search(r"v\.txt:2 has 2 numbers after the word, wanted 300", short)
    assert "v.txt:1 has 301 numbers" in refusal(path, line("a", 1) + " 0.5\n")
    assert "word2vec" in refusal(path, "400000 300\n")
    bad = LINES[1].replace(" 1.005", " x.005")
    assert re.search(
        r"v\.txt:2 is not a word vector: .*x\.005", refusal(path, f"{LINES[0]}\n{bad}")
    )
    infinite = LINES[1].replace(" 1.005", " inf")
    assert "v.txt:1 is not a word vector: a number is not finite" in refusal(path, infinite)
    assert "zip archive" in refusal(path, b"PK\x03\x04 and so on")
    whole = gzip.compress("\n".join(LINES).encode(), mtime=0)
    assert "damaged or cut short" in refusal(path, whole[:-20])
    damaged = bytearray(whole)
    damaged[-6] ^= 0xFF  # the checksum
    assert "damaged or cut short" in refusal(path, bytes(damaged), ["grün"])


def test_only_wanted_words_are_kept(tmp_path, monkeypatch):
    path = tmp_path / "v.txt"
    path.write_text("\n".join(line(f"w{i}", 1) for i in range(200)))
    parsed = []
    numbers = __import__("mesm.features.glove", fromlist=["_"])._numbers
    monkeypatch.setattr(
        "mesm.features.glove._numbers", lambda *a: parsed.append(a[2]) or numbers(*a)
    )
    assert list(read_vectors(path, ["w7", "W9"])) == ["w7", "W9"]
    assert parsed == [8, 10]
