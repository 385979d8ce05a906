import json

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from mesm.inputs.subwords import (
    CLS,
    PAD,
    SEP,
    SPECIAL,
    UNKNOWN,
    PretrainedSubwords,
    UnigramSubwords,
)
from tests.mesm.tiny_text import write_tokenizer

TEXTS = [
    f"{who} {feels} {how} happy about the {thing}"
    for who in ("I", "you", "we", "they")
    for feels in ("am", "are", "never feel", "always felt")
    for how in ("so", "very", "not at all")
    for thing in ("weather", "result", "journey", "result")
]


@pytest.fixture(scope="module")
def subwords():
    return UnigramSubwords.train(TEXTS, vocab_size=80)


def test_same_texts_same_file(subwords, tmp_path):
    subwords.save(tmp_path / "first.json")
    for i in range(3):
        UnigramSubwords.train(TEXTS, vocab_size=80).save(tmp_path / f"{i}.json")
        assert (tmp_path / f"{i}.json").read_bytes() == (tmp_path / "first.json").read_bytes()


def test_cls_first_sep_last_padding_masked(subwords):
    ids, mask = subwords.encode(["We are happy", "you"], 50)
    assert ids.dtype == torch.int64
    assert mask.dtype == torch.bool
    assert ids.shape == mask.shape
    cls, sep = SPECIAL.index(CLS), SPECIAL.index(SEP)
    for row, length in enumerate(mask.sum(1)):
        assert ids[row, 0] == cls
        assert ids[row, length - 1] == sep
        assert (ids[row, length:] == subwords.pad_id).all()
        assert mask[row, :length].all()
    assert mask[0].all()
    assert ids.max() < subwords.vocab_size


def test_long_texts_are_cut_before_the_end_mark(subwords):
    whole, _ = subwords.encode([TEXTS[0]], 500)
    ids, mask = subwords.encode([TEXTS[0]], 6)
    assert ids.shape == (1, 6)
    assert mask.all()
    assert ids[0, :5].tolist() == whole[0, :5].tolist()
    assert ids[0, 5] == SPECIAL.index(SEP)


def test_case_and_width_do_not_matter_and_the_unseen_is_unknown(subwords):
    a, _ = subwords.encode(["You  are HAPPY"], 50)
    b, _ = subwords.encode(["you are ｈａｐｐｙ "], 50)
    assert torch.equal(a, b)
    ids, _ = subwords.encode(["你"], 50)
    assert SPECIAL.index(UNKNOWN) in ids[0]
    assert subwords.tokens("")[0] == CLS


def test_what_is_saved_is_what_is_loaded(subwords, tmp_path):
    subwords.save(tmp_path / "tokenizer.json")
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
    loaded = UnigramSubwords.load(tmp_path / "tokenizer.json")
    assert loaded.vocab_size == subwords.vocab_size
    assert torch.equal(loaded.encode(TEXTS, 50)[0], subwords.encode(TEXTS, 50)[0])


def test_refusals(subwords, tmp_path):
    with pytest.raises(ValueError, match="every training text is empty"):
        UnigramSubwords.train(["", "  "])
    with pytest.raises(ValueError, match="vocab_size must be more than 4, got 3"):
        UnigramSubwords.train(TEXTS, vocab_size=3)
    with pytest.raises(ValueError, match="max_length must leave room"):
        subwords.encode(["x"], 1)
    with pytest.raises(FileNotFoundError, match="no tokenizer at"):
        UnigramSubwords.load(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(ValueError, match=r"broken\.json is not a tokenizer"):
        UnigramSubwords.load(tmp_path / "broken.json")
    with pytest.raises(FileNotFoundError, match="no text model at"):
        PretrainedSubwords.from_model(tmp_path / "albert")
    with pytest.raises(ValueError, match="holds no tokenizer"):
        PretrainedSubwords.from_model(tmp_path)


def save_pretrained(subwords, folder):
    subwords.save(folder / "tokenizer.json")
    PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        cls_token=CLS,
        sep_token=SEP,
        pad_token=PAD,
        unk_token=UNKNOWN,
    ).save_pretrained(folder / "model")
    return folder / "model"


def test_damaged_tokenizers_are_refused(subwords, tmp_path):
    """Also where the library panics as soon as a text comes."""
    model = save_pretrained(subwords, tmp_path)
    panics = json.loads((tmp_path / "tokenizer.json").read_text())
    del panics["post_processor"]["special_tokens"][CLS]
    for content in (b"", b"{", b"[]", b"\xff\xfe", b"{}", json.dumps(panics).encode()):
        for file in (tmp_path / "tokenizer.json", model / "tokenizer.json"):
            file.write_bytes(content)
        for kind in (UnigramSubwords, PretrainedSubwords):
            with pytest.raises(
                ValueError, match=r"tokenizer\.json is not a tokenizer of this proj"
            ):
                kind.load(tmp_path / "tokenizer.json")
        with pytest.raises(ValueError, match=r"model holds no tokenizer .*copy the model's folder"):
            PretrainedSubwords.from_model(model)
    save_pretrained(subwords, tmp_path)
    for content in (b"\xc4", b"{", b'{"unk_token": {}}', b'{"tokenizer_class": 1.5}'):
        (model / "tokenizer_config.json").write_bytes(content)
        with pytest.raises(ValueError, match="model holds no tokenizer"):
            PretrainedSubwords.from_model(model)


def test_a_tokenizer_that_does_more_with_texts_is_refused(subwords, tmp_path):
    """One could lengthen each text without end, before a text is read."""
    subwords.save(tmp_path / "tokenizer.json")
    whole = json.loads((tmp_path / "tokenizer.json").read_text())
    bomb = {"type": "Replace", "pattern": {"Regex": "."}, "content": "a" * 1000}
    for part, value in (
        ("normalizer", {"type": "Sequence", "normalizers": [bomb] * 9}),
        ("normalizer", None),
        ("pre_tokenizer", {"type": "Whitespace"}),
        ("post_processor", None),
        ("added_tokens", whole["added_tokens"][:3]),
        ("model", {"type": "WordLevel", "vocab": {t: n for n, t in enumerate(SPECIAL)}}),
    ):
        other = whole | {part: value}
        if part == "model":
            other["model"]["unk_token"] = "[UNK]"
        (tmp_path / "other.json").write_text(json.dumps(other))
        with pytest.raises(ValueError, match=rf"other\.json is not a .*\(its {part} is of another"):
            UnigramSubwords.load(tmp_path / "other.json")


def test_faults_of_our_own_are_not_taken_for_damage(subwords, tmp_path, monkeypatch):
    subwords.save(tmp_path / "tokenizer.json")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(UnigramSubwords, "tokens", stop)
    with pytest.raises(KeyboardInterrupt):
        UnigramSubwords.load(tmp_path / "tokenizer.json")


def test_a_pretrained_tokenizer_gives_the_same_shapes(subwords, tmp_path):
    pretrained = PretrainedSubwords.from_model(save_pretrained(subwords, tmp_path))
    for longest in (50, 6):
        for wanted, got in zip(
            subwords.encode(TEXTS[:5], longest), pretrained.encode(TEXTS[:5], longest), strict=True
        ):
            assert torch.equal(wanted, got)
    assert pretrained.vocab_size == subwords.vocab_size
    assert pretrained.tokens("you") == subwords.tokens("you")


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_pretrained_tokenizer_encodes_as_transformers_does(kind, tmp_path):
    folder = write_tokenizer(tmp_path / "model", kind)
    theirs = AutoTokenizer.from_pretrained(folder)
    ours = PretrainedSubwords.from_model(folder)
    texts = ["I am so happy", "", "sad", "we feel the word not the unknown word"]
    ours.save(tmp_path / "tokenizer.json")
    kept = PretrainedSubwords.load(tmp_path / "tokenizer.json")
    with pytest.raises(ValueError, match="max_length must leave room for 2 subwords, got 1"):
        ours.encode(texts, 1)
    for longest in (50, 6, 2):
        wanted = theirs(
            texts, padding=True, truncation=True, max_length=longest, return_tensors="pt"
        )
        for subwords in (ours, kept):
            ids, mask = subwords.encode(texts, longest)
            assert torch.equal(ids, wanted["input_ids"])
            assert torch.equal(mask, wanted["attention_mask"].bool())
    assert (kept.pad_id, kept.vocab_size) == (theirs.pad_token_id, len(theirs))
    assert kept.tokens(texts[3]) == theirs.convert_ids_to_tokens(theirs(texts[3])["input_ids"])
    # However texts were cut last, the same file is kept.
    kept.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()


def test_texts_are_cut_where_the_tokenizer_cuts_them(tmp_path):
    folder = write_tokenizer(tmp_path / "model", truncation_side="left")
    PretrainedSubwords.from_model(folder).save(tmp_path / "tokenizer.json")
    ids, _ = PretrainedSubwords.load(tmp_path / "tokenizer.json").encode(["i am so happy"], 4)
    whole, _ = PretrainedSubwords.from_model(folder).encode(["i am so happy"], 9)
    assert ids[0].tolist() == [int(whole[0, 0]), *whole[0, 3:].tolist()]


def test_tokenizers_that_no_encoder_can_read(tmp_path):
    folder = write_tokenizer(tmp_path / "no padding", pad_token=None)
    with pytest.raises(ValueError, match=r"no padding has no padding subword; name one as pad_tok"):
        PretrainedSubwords.from_model(folder)
    folder = write_tokenizer(tmp_path / "no first")
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"post_processor": None}))
    with pytest.raises(
        ValueError, match=r"no first does not do \(texts do not begin with one spec"
    ):
        PretrainedSubwords.from_model(folder)


def test_what_transformers_would_make_up_of_a_tokenizer(tmp_path):
    """Without its files, every word would be unknown, or fall into letters."""
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    with pytest.raises(ValueError, match=r"holds no tokenizer \(tokenizer\.json, or vocab"):
        PretrainedSubwords.from_model(tmp_path)
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(ValueError, match=r"merges\.txt is missing beside vocab\.json"):
        PretrainedSubwords.from_model(tmp_path)
    (tmp_path / "vocab.json").unlink()
    (tmp_path / "spm.model").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="it knows special subwords alone"):
        PretrainedSubwords.from_model(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "deberta-v2"}')
    with pytest.raises(ValueError, match=r"make a tokenizer\.json of spm\.model: pip install sent"):
        PretrainedSubwords.from_model(tmp_path)


def test_a_vocabulary_alone_is_a_berts_tokenizer(tmp_path):
    write_tokenizer(tmp_path / "whole")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "happy", "so", "##so"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    subwords = PretrainedSubwords.from_model(tmp_path)
    assert subwords.tokens("Happy soso") == ["[CLS]", "happy", "so", "##so", "[SEP]"]
    (tmp_path / "vocab.txt").write_text("\n".join([*words[:6], "", *words[7:]]))
    with pytest.raises(ValueError, match=r"vocab\.txt is damaged: a line without a subword"):
        PretrainedSubwords.from_model(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(words[:5]))
    with pytest.raises(ValueError, match="it knows special subwords alone"):
        PretrainedSubwords.from_model(tmp_path)
