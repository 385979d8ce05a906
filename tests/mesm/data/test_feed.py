import pytest
import torch

from mesm.config.files import load_config
from mesm.corpora.prepared import PreparedCorpus
from mesm.data.batch import Batch
from mesm.data.feature_batch import FeatureBatch
from mesm.data.feed import EndToEndFeed, TwoPhaseFeed
from mesm.models.registry import open_feed
from mesm.runs.folder import RunFolder


def feed_of(name, corpus, folder, *overrides):
    config = load_config(f"iemocap_{name}", [f"corpus={corpus}", *overrides])
    return open_feed(config, PreparedCorpus.open(corpus), RunFolder(folder))


@pytest.mark.parametrize(
    ("name", "kind", "batch"),
    [("fe2e", EndToEndFeed, Batch), ("lf_lstm", TwoPhaseFeed, FeatureBatch)],
)
def test_each_system_reads_its_own_batches(name, kind, batch, tiny_features, tmp_path):
    feed = feed_of(name, tiny_features, tmp_path)
    assert isinstance(feed, kind)
    train_set = feed.dataset("train")
    feed.start(train_set)
    found = feed.collate([train_set[0], train_set[1]])
    assert isinstance(found, batch)
    assert found.clip_ids == ["train_000", "train_001"]
    single = feed.single("test_003")
    assert feed.collate([single[0]]).clip_ids == ["test_003"]
    assert torch.equal(single.labels(), feed.dataset("test").labels()[3:4])
    assert feed.sizes()["emotions"] == 6
    with pytest.raises(ValueError, match="no clip 'nobody'"):
        feed.single("nobody")


def test_systems_see_the_same_labels(tiny_features, tmp_path):
    feeds = [feed_of(name, tiny_features, tmp_path) for name in ("fe2e", "mult")]
    for split in ("train", "valid", "test"):
        one, two = (feed.dataset(split).labels() for feed in feeds)
        assert torch.equal(one, two)


def test_sizes_are_those_of_what_is_read(tiny_features, tmp_path):
    feed = feed_of("mult", tiny_features, tmp_path)
    assert feed.sizes() == {"emotions": 6, "text": 300, "audio": 34, "video": 35}
    assert feed.emotion_vectors().shape == (6, 300)
    media = feed_of("fe2e", tiny_features, tmp_path, "model.text.vocabulary=60")
    media.start(media.dataset("train"))
    known = media.tokenizer.vocab_size
    assert media.sizes() == {"emotions": 6, "vocabulary": known, "padding": 0}
    assert media.emotion_vectors() is None


def test_limits_come_from_the_settings(tiny_features, tmp_path):
    limits = ["model.max_words=2", "model.max_video=1"]
    sample = feed_of("lf_lstm", tiny_features, tmp_path, *limits).dataset("train")[2]
    assert [len(sample.text), len(sample.audio), len(sample.video)] == [2, 4, 1]


def test_what_a_run_keeps_of_its_features(tiny_features, tmp_path):
    feed = feed_of("lf_lstm", tiny_features, tmp_path)
    feed.check()  # nothing was started
    with pytest.raises(ValueError, match=r"this run has no features\.json"):
        feed.reopen()
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(ValueError, match=r"this run has no features\.json"):
        feed.check()
    feed.write()
    feed.reopen()
    feed.check()
    (tmp_path / "features.json").write_text('{"sha256": "0", "features": "others"}')
    with pytest.raises(ValueError, match=r"trained on other features .*'others' .*'made-up"):
        feed.check()
    (tmp_path / "features.json").write_text("{")
    with pytest.raises(ValueError, match=r"features\.json: damaged"):
        feed.reopen()
