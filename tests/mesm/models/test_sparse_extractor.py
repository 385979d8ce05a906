import pytest
import torch

from mesm.models import MESM
from mesm.models.entropy import normalised_entropy
from mesm.models.sparse_extractor import shuffle_some
from mesm_ops import SparseFeatureMaps


def test_a_share_of_the_clips_gets_another_ones_query():
    torch.manual_seed(0)
    query = torch.arange(4000.0)[:, None].expand(-1, 3)
    assert torch.equal(shuffle_some(query, 0.0), query)
    everything = shuffle_some(query, 1.0)
    assert torch.equal(everything[:, 0].sort().values, query[:, 0])
    changed = (shuffle_some(query, 0.3) != query).all(dim=1).float().mean()
    # Four standard deviations of a share of 4000.
    assert changed.item() == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 4000) ** 0.5)


def test_one_clip_keeps_its_query():
    query = torch.randn(1, 5)
    assert torch.equal(shuffle_some(query, 1.0), query)


def test_only_training_shuffles(small, make_batch):
    batch = make_batch(faces=[3, 2], chunks=[1, 3], words=[5, 9])
    plain, shuffled = MESM(**small).eval(), MESM(query_shuffle=1.0, **small).eval()
    shuffled.load_state_dict(plain.state_dict())
    with torch.no_grad():
        assert torch.equal(plain(batch), shuffled(batch))


def test_a_local_start_barely_looks_around(small, make_batch):
    stages = [MESM(local_start=local, **small).face.extractor.stage for local in ((), ("face",))]
    faces = torch.randn(2, 3, 48, 48)
    around = []
    for stage in stages:
        maps = faces.clone().requires_grad_()
        stage.eval()(maps)[:, :, 12, 12].sum().backward()
        weight = maps.grad.abs().sum(dim=(0, 1))
        # The 5x5 convolution and the pool see 6 pixels around the site's own two.
        near = weight[24 - 2 : 26 + 2, 24 - 2 : 26 + 2].sum()
        around.append(float(1 - near / weight.sum()))
    assert around[1] < 0.5 * around[0]


def test_a_positive_start_prefers_large_features_and_changes_nothing_else(small):
    models = []
    for positive in (False, True):
        torch.manual_seed(0)
        models.append(MESM(positive_start=positive, **small).state_dict())
    for name, plain in models[0].items():
        turned = ".attention." in name and name.endswith(("map_proj.weight", "score.weight"))
        assert torch.equal(models[1][name], plain.abs() if turned else plain), name
    model = MESM(positive_start=True, **small).eval()
    attention = model.face.extractor.blocks[0].attention
    maps = torch.rand(1, small["channels"][0], 4, 4)
    louder = maps.clone()
    louder[:, :, 2, 3] += 1
    query = torch.randn(1, small["albert"]["hidden_size"])
    before, after = (
        attention.logits(SparseFeatureMaps.from_dense(one), query, None) for one in (maps, louder)
    )
    assert (after - before)[2 * 4 + 3] > 0
    torch.testing.assert_close(after.sort().values[-1], after[2 * 4 + 3])


@pytest.fixture
def extractor(small):
    model = MESM(p=[0.8, 0.5, 0.3], **small).double()
    for block in model.face.extractor.blocks:  # so that the attention is not flat
        torch.nn.init.normal_(block.attention.score.weight, std=3.0)
    return model.face.extractor


@pytest.fixture
def inputs(small):
    frames = torch.randn(5, 3, 48, 48, dtype=torch.float64)
    query = torch.randn(2, small["albert"]["hidden_size"], dtype=torch.float64)
    return frames, query, torch.tensor([2, 3])


def test_walking_ends_where_the_fused_blocks_do(extractor, inputs):
    extractor.eval()
    frames, query, lengths = inputs
    with torch.no_grad():
        steps = list(extractor.walk(extractor.first_stage_maps(frames), query, lengths))
        # float64, so a sum of a few hundred products is off by about 1e-13.
        torch.testing.assert_close(
            extractor.finish(steps[-1]), extractor(frames, query, lengths), rtol=0, atol=1e-11
        )
    assert len(steps) == 3


def test_every_step_says_what_was_given_scored_and_kept(extractor, inputs):
    extractor.eval()
    frames, query, lengths = inputs
    with torch.no_grad():
        maps = extractor.first_stage_maps(frames)
        given = SparseFeatureMaps.from_dense(maps)
        for block, step in zip(extractor.blocks, extractor.walk(maps, query, lengths), strict=True):
            assert torch.equal(step.given.mask(), given.mask())
            torch.testing.assert_close(step.given.features, given.features)
            torch.testing.assert_close(step.logits, block.attention.logits(given, query, lengths))
            kept = block.attend(given, query, lengths)
            assert torch.equal(step.kept.mask(), kept.mask())
            torch.testing.assert_close(step.kept.features, kept.features)
            assert 0 < int(step.kept.offsets[-1]) < int(step.given.offsets[-1])
            given = block.convolve(kept)


def test_a_step_that_nobody_asks_for_is_not_computed(extractor, inputs):
    extractor.eval()
    frames, query, lengths = inputs
    called = []
    for number, block in enumerate(extractor.blocks):
        block.conv1.register_forward_hook(lambda *_, number=number: called.append(number))
    with torch.no_grad():
        steps = extractor.walk(extractor.first_stage_maps(frames), query, lengths)
        next(steps)
        assert called == []
        next(steps)
        assert called == [0]
        list(steps)
    assert called == [0, 1]


def test_the_entropy_is_of_the_first_attention_and_changes_nothing(extractor, inputs):
    frames, query, lengths = inputs
    extractor.train()
    plain = extractor(frames, query, lengths)
    features, entropy = extractor.with_entropy(frames, query, lengths)
    torch.testing.assert_close(features, plain, rtol=0, atol=1e-11)
    with torch.no_grad():
        maps = extractor.first_stage_maps(frames)
        given = SparseFeatureMaps.from_dense(maps)
        logits = extractor.blocks[0].attention.logits(given, query, lengths)
        torch.testing.assert_close(entropy, normalised_entropy(given, logits))
    entropy.sum().backward()
    assert extractor.blocks[0].attention.score.weight.grad.abs().sum() > 0
    assert extractor.blocks[1].attention.score.weight.grad is None


def test_a_step_is_the_same_whether_the_first_block_is_fused_or_not(small, make_batch):
    model = MESM(p=[0.8, 0.5, 0.3], **(small | {"dropout": 0.0}))
    # ALBERT drops out too.
    model.text.eval()
    batch = make_batch(faces=[3, 2], chunks=[1, 3], words=[5, 9])
    gradients = []
    for entropy in ((), ("face", "audio")):
        model.zero_grad()
        outputs = model(batch, branches=True, entropy=entropy)
        (outputs.logits.square().sum() + outputs.branches.square().sum()).backward()
        gradients.append([outputs.logits, *(p.grad.clone() for p in model.parameters())])
    for fused, parts in zip(*gradients, strict=True):
        # Float32: 1e-5 of the largest value, as sums are taken in another order.
        scale = float(parts.detach().abs().max())
        torch.testing.assert_close(fused, parts, rtol=0, atol=1e-5 * max(scale, 1e-3))
