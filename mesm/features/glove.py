"""Word vectors from the user's GloVe file (Pennington et al., 2014)."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from mesm.features.parquet import WORD_DIM

_GZIP, _ZIP = b"\x1f\x8b", b"PK"


def read_vectors(file: Path, words: Collection[str]) -> dict[str, npt.NDArray[np.float32]]:
    """Read the vectors of some words; the file is streamed, and nothing else of it kept.

    A word that the file does not have is looked for in lower case; one that it does not have
    either way is absent from the result. The first line of a word counts.

    Args:
        file: a word and 300 numbers a line, with blanks between, plain or gzip. The words of
            glove.840B may hold blanks themselves, so numbers are counted from the right.
        words: those wanted.

    Returns:
        The words found and their vectors (300,) float32, in the order of `words`.

    Raises:
        ValueError: the file is no such file; names the file and the line.
        OSError: it cannot be read.
    """
    wanted = {word.encode() for word in words} | {word.lower().encode() for word in words}
    found: dict[bytes, npt.NDArray[np.float32]] = {}
    number = 0
    with _open(file) as lines:
        for number, line in enumerate(lines, 1):
            line = line.rstrip(b"\r\n ")
            blanks = line.count(b" ")
            if blanks < WORD_DIM or (number == 1 and blanks != WORD_DIM):
                raise ValueError(_wrong_length(file, number, blanks))
            # Only a word with blanks in it needs the slow way.
            word = (
                line[: line.index(b" ")] if blanks == WORD_DIM else line.rsplit(b" ", WORD_DIM)[0]
            )
            if word in wanted and word not in found:
                found[word] = _numbers(line.rsplit(b" ", WORD_DIM)[1:], file, number)
    if number == 0:
        raise ValueError(f"{file} is empty; wanted lines of a word and {WORD_DIM} numbers")
    vectors = {}
    for name in words:
        vector = found.get(name.encode(), found.get(name.lower().encode()))
        if vector is not None:
            vectors[name] = vector
    return vectors


def _wrong_length(file: Path, number: int, blanks: int) -> str:
    got = f"{file}:{number} has {blanks} numbers after the word, wanted {WORD_DIM}"
    if number == 1 and blanks == 1:
        return f"{got}: a line of counts, as word2vec writes, must be removed"
    return f"{got}, as in glove.840B.300d.txt"


def _numbers(fields: list[bytes], file: Path, number: int) -> npt.NDArray[np.float32]:
    try:
        vector = np.array([float(field) for field in fields], np.float32)
    except ValueError as error:
        raise ValueError(f"{file}:{number} is not a word vector: {error}") from error
    if not np.isfinite(vector).all():
        raise ValueError(f"{file}:{number} is not a word vector: a number is not finite")
    return vector


@contextmanager
def _open(file: Path) -> Iterator[Iterator[bytes]]:
    """Give the lines of a plain or gzip file; a bar shows how far through the file they are."""
    with file.open("rb") as raw:
        start = raw.read(2)
        raw.seek(0)
        if start == _ZIP:
            raise ValueError(f"{file} is a zip archive: unpack it and name the .txt inside")
        unpacked = gzip.GzipFile(fileobj=raw) if start == _GZIP else raw
        size = file.stat().st_size
        with tqdm(total=size, desc="word vectors", unit="B", unit_scale=True) as bar:
            yield _lines(file, unpacked, raw, bar)


def _lines(
    file: Path, unpacked: io.BufferedIOBase, raw: io.BufferedReader, bar: tqdm
) -> Iterator[bytes]:
    try:
        for number, line in enumerate(unpacked):
            if number % 1000 == 0:
                bar.update(raw.tell() - bar.n)
            yield line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{file} is damaged or cut short ({error}): fetch it again") from error
    bar.update(raw.tell() - bar.n)
