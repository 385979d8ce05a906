import pytest
import torch

from mesm.models import MESM
from mesm.models.sparse_extractor import shuffle_some


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
