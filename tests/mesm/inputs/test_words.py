import pytest

from mesm.inputs.words import split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I love the wedding, you know.", ["I", "love", "the", "wedding", "you", "know"]),
        ("I can't, she's DON'T", ["I", "ca", "n't", "she", "'s", "DO", "N'T"]),
        ("we’ll they've I'd", ["we", "'ll", "they", "'ve", "I", "'d"]),
        ("I'm you're", ["I", "'m", "you", "'re"]),
        ("twenty-one o'clock 3.5 U.S. 'quoted'", ["twenty-one", "o'clock", "3.5", "U.S", "quoted"]),
        ("[LAUGHTER] well--no", ["LAUGHTER", "well", "no"]),
        ("Señor Müller 你好…🙂", ["Señor", "Müller", "你好"]),
        ("... -- !", []),
        ("", []),
    ],
)
def test_words(text, words):
    assert split_words(text) == words
