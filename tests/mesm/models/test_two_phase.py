"""Properties of each of the four baselines."""

import pytest
import torch
from torch import nn

from mesm.data.feature_batch import FeatureBatch
from mesm.models import LFLSTM, EmoEmbs, LFTransformer, MulT

ALL = [LFLSTM, LFTransformer, EmoEmbs, MulT]
LATE = [LFLSTM, LFTransformer, EmoEmbs]


def build(kind, widths, **options):
    if kind is MulT:
        options = {"dim": 8, "heads": 2, "layers": 2, "memory_layers": 1} | options
    model = kind(**(widths | options))
    if isinstance(model, EmoEmbs):
        model.set_emotion_vectors(torch.randn(model.emotion_vectors.shape))
    return model


@pytest.fixture
def batch(make_features):
    return make_features([5, 1, 9], [2, 4, 3], [3, 11, 1])


@pytest.mark.parametrize("kind", ALL)
def test_each_subset_of_modalities_learns(kind, widths, batch):
    for modalities in ("tav", "ta", "tv", "va", "t", "a", "v"):
        if kind is MulT and len(modalities) < 2:
            continue
        model = build(kind, widths, modalities=modalities)
        logits = model(batch)
        assert logits.shape == (3, 3)
        logits.square().sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("kind", ALL)
def test_only_its_modalities_count(kind, widths, batch):
    model = build(kind, widths, modalities="ta").eval()
    before = model(batch)
    batch.video = batch.video + 1
    torch.testing.assert_close(model(batch), before, rtol=0, atol=0)
    batch.audio = batch.audio + 1
    assert not torch.allclose(model(batch), before)


@pytest.mark.parametrize("kind", ALL)
def test_clips_without_rows_are_finite_and_train(kind, widths, make_features):
    for lengths in (([0, 2], [3, 0], [0, 0]), ([0], [0], [0])):
        model = build(kind, widths)
        logits = model(make_features(*lengths))
        assert logits.isfinite().all()
        logits.sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("kind", LATE)
def test_late_fusion_is_a_weighted_sum_of_each_streams_own_logits(kind, widths, batch):
    model = build(kind, widths).eval()
    with torch.no_grad():
        model.fuse.weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
        found, logits = model(batch, branches=True), model(batch)
    own = found.branches
    torch.testing.assert_close(found.logits, 0.5 * own[0] - own[1] + 2 * own[2])
    torch.testing.assert_close(found.logits, logits, rtol=0, atol=0)
    assert model.branch_names == ("text", "audio", "video")
    for name, modality, logits in zip(model.branch_names, "tav", own, strict=True):
        # With gradients Transformers take another path.
        torch.testing.assert_close(model.branch(batch, modality), logits, msg=name)


@pytest.mark.parametrize("kind", ALL)
def test_saves_and_loads_as_a_hub_model(kind, widths, batch, tmp_path):
    model = build(kind, widths).eval()
    model.save_pretrained(tmp_path)
    again = kind.from_pretrained(tmp_path)
    torch.testing.assert_close(again(batch), model(batch), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ALL)
def test_refuses(kind, widths, batch):
    with pytest.raises(ValueError, match="modalities must be one of"):
        build(kind, widths, modalities="txv")
    with pytest.raises(ValueError, match="audio_dim must be a positive whole number, got 0"):
        build(kind, widths | {"audio_dim": 0})
    batch.audio, model = batch.audio[:, :7], build(kind, widths)
    with pytest.raises(ValueError, match=f"{kind.__name__}: reads 10 audio features, got 7"):
        model(batch)


def planted(clips: int, seed: int) -> FeatureBatch:
    """One row of one random stream, anywhere in the clip, says the label; the rest is noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (clips,), generator=generator)
    carrier = torch.randint(0, 3, (clips,), generator=generator)
    fields = {}
    for number, (name, dim) in enumerate((("text", 6), ("audio", 4), ("video", 5))):
        lengths = torch.randint(1, 7, (clips,), generator=generator)
        rows = 0.1 * torch.randn(int(lengths.sum()), dim, generator=generator)
        place = lengths.cumsum(0) - 1 - (torch.rand(clips, generator=generator) * lengths).long()
        here = carrier == number
        rows[place[here], labels[here]] += 2
        fields |= {name: rows, f"{name}_lengths": lengths}
    names = [str(clip) for clip in range(clips)]
    return FeatureBatch(clip_ids=names, labels=labels.float()[:, None], **fields)


def fit(model: nn.Module, make, steps: int, rate: float) -> float:
    """Accuracy on clips that were not trained on."""
    optimizer = torch.optim.Adam(model.parameters(), rate)
    cross_entropy = nn.BCEWithLogitsLoss()
    for step in range(steps):
        batch = make(64, step)
        cross_entropy(model(batch), batch.labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    test = make(300, 10_000)
    with torch.no_grad():
        right = (model.eval()(test) > 0) == test.labels.bool()
    return float(right.float().mean())


@pytest.mark.parametrize("kind", ALL)
def test_learns_a_planted_signal(kind):
    """Chance is 0.5; a system blind to one stream stays below 0.85."""
    sizes = {"emotions": 1, "text_dim": 6, "audio_dim": 4, "video_dim": 5}
    options = {}
    if kind is LFTransformer:
        options = {"text_heads": 2, "feedforward": 32, "layers": 1}
    if kind is MulT:
        options = {"embedding_dropout": 0.0, "layers": 1}
    if kind is EmoEmbs:
        options = {"audio_hidden": 8, "video_hidden": 8}
    assert fit(build(kind, sizes, **options), planted, 100, 5e-3) > 0.95


def delayed(clips: int, seed: int) -> FeatureBatch:
    """The label says whether a sign in the sound returns in the video three rows later."""
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (clips, 2), generator=generator)
    streams: dict[str, list[torch.Tensor]] = {"audio": [], "video": []}
    for sound, picture in signs.tolist():
        lengths = [int(torch.randint(low, low + 3, (), generator=generator)) for low in (4, 8)]
        audio, video = (0.1 * torch.randn(length, 4, generator=generator) for length in lengths)
        time = int(torch.randint(0, lengths[0], (), generator=generator))
        audio[time, sound] += 2
        video[min(time + 3, lengths[1] - 1), picture] += 2
        streams["audio"].append(audio)
        streams["video"].append(video)
    fields = {name: torch.cat(rows) for name, rows in streams.items()}
    fields |= {f"{n}_lengths": torch.tensor([len(r) for r in rows]) for n, rows in streams.items()}
    fields |= {"text": torch.zeros(0, 4), "text_lengths": torch.zeros(clips, dtype=torch.int64)}
    labels = (signs[:, 0] == signs[:, 1]).float()[:, None]
    return FeatureBatch(clip_ids=[str(clip) for clip in range(clips)], labels=labels, **fields)


def test_mult_finds_a_signal_of_one_stream_delayed_against_another():
    """Neither stream alone says anything, so no sum of their own logits can be right: 0.5."""
    sizes = {"emotions": 1, "text_dim": 4, "audio_dim": 4, "video_dim": 4, "modalities": "va"}
    still = {"attention_dropout": 0.0, "relu_dropout": 0.0, "residual_dropout": 0.0}
    model = build(MulT, sizes, dim=16, embedding_dropout=0.0, **still)
    assert fit(model, delayed, 125, 3e-3) > 0.95
    # The labels (1, 0, 0, 1) of the four pairs of signs are no sum: three can be right at most.
    assert fit(build(LFLSTM, sizes), delayed, 100, 5e-3) < 0.8
