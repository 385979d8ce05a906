from __future__ import annotations

import numpy as np
import pytest

from mesm.corpora.miniature.emotions import EMOTIONS, mood
from mesm.corpora.miniature.generate import generate
from mesm.corpora.miniature.halves import HALVES, sentence_about
from mesm.corpora.miniature.layouts import FILES
from mesm.corpora.miniature.sentences import emotions_of_words, sentence
from mesm.corpora.miniature.word_vectors import write_word_vectors
from mesm.features.glove import read_vectors
from mesm.inputs.words import split_words


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("words")
    write_word_vectors(path, 3)
    return path


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_every_word_of_every_sentence_but_one_has_a_vector(folder):
    rng = np.random.default_rng(0)
    words = set()
    for emotion in {"neutral", *EMOTIONS["iemocap"], *EMOTIONS["mosei"]}:
        for _ in range(60):
            words |= set(split_words(sentence((emotion,), rng)))
    found = read_vectors(folder / "glove.txt.gz", words | {"neutral", *EMOTIONS["mosei"]})
    assert words - found.keys() <= {"lease"}
    for layout in ("iemocap", "mosei"):
        assert len(read_vectors(folder / "glove.txt.gz", EMOTIONS[layout])) == 6


@pytest.mark.parametrize("layout", ["meld", "ravdess", "crema_d"])
def test_emotions_of_other_names_lie_where_their_moods_do(tmp_path, layout):
    texts = FILES[layout].texts
    write_word_vectors(tmp_path, 3, layout=layout, texts=texts)
    names = EMOTIONS[layout]
    words = {word for text in texts for word in split_words(text)}
    vectors = read_vectors(tmp_path / "glove.txt.gz", {*words, *names, *map(mood, names)})
    assert vectors.keys() >= {*words, *names}
    for name in names:
        # 0.9 x 0.9, or the same vector.
        assert cosine(vectors[name], vectors[mood(name)]) > 0.7
        assert all(cosine(vectors[name], vectors[other]) < 0.3 for other in set(names) - {name})
    if layout == "crema_d":
        assert all(abs(cosine(vectors["jacket"], vectors[name])) < 0.25 for name in names)


def test_words_of_one_mood_lie_near_its_name(folder):
    moods = emotions_of_words()
    vectors = read_vectors(folder / "glove.txt.gz", [*moods, "happy", "angry"])
    assert moods["furious"] == {"angry"}
    assert moods["wedding"] == frozenset()
    happy = [w for w, m in moods.items() if m == {"happy"} and w in vectors]
    assert len(happy) > 8
    own = [cosine(vectors[word], vectors["happy"]) for word in happy]
    other = [cosine(vectors[word], vectors["angry"]) for word in happy]
    # 0.55 x 0.9, and 0; a cosine of 300 random components has a deviation of 0.06.
    assert np.mean(own) == pytest.approx(0.5, abs=0.08)
    assert np.mean(other) == pytest.approx(0.0, abs=0.08)
    plain = [w for w, m in moods.items() if not m and w in vectors]
    assert np.mean([cosine(vectors[w], vectors["happy"]) for w in plain]) < 0.1


def test_a_seed_fixes_every_byte(folder, tmp_path):
    write_word_vectors(tmp_path, 3)
    same = (tmp_path / "glove.txt.gz").read_bytes()
    assert same == (folder / "glove.txt.gz").read_bytes()
    write_word_vectors(tmp_path, 4)
    assert (tmp_path / "glove.txt.gz").read_bytes() != same


def test_the_corpus_brings_them(tmp_path):
    generate(tmp_path / "out", clips=1, seed=3, workers=1)
    write_word_vectors(tmp_path, 3)
    wanted = (tmp_path / "glove.txt.gz").read_bytes()
    assert (tmp_path / "out" / "glove.txt.gz").read_bytes() == wanted


def test_words_that_say_where_to_look_have_vectors_of_no_mood(folder, tmp_path):
    write_word_vectors(tmp_path, 3, "where")
    rng = np.random.default_rng(0)
    words = {
        word
        for half in HALVES
        for _ in range(300)
        for word in split_words(sentence_about(half, rng))
    }
    vectors = read_vectors(tmp_path / "glove.txt.gz", words | {"happy"})
    assert words - vectors.keys() <= {"lease"}
    assert abs(cosine(vectors["eyelids"], vectors["happy"])) < 0.25
    assert "eyelids" not in read_vectors(folder / "glove.txt.gz", ["eyelids", "happy"])
