import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mesm.models import FE2E, MESM


@pytest.fixture
def batch(make_batch):
    return make_batch(faces=[3, 2], chunks=[1, 3], words=[5, 9])


def extraction_flops(model, batch) -> dict[str, int]:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(batch)
    counts = counter.get_flop_counts()
    top = type(model).__name__
    return {name: sum(counts[f"{top}.{name}.extractor"].values()) for name in ("face", "audio")}


@pytest.mark.parametrize("selection", ["weighted", "straight_through"])
def test_every_attention_parameter_gets_a_gradient(small, batch, selection):
    model = MESM(selection=selection, **small)
    model(batch).square().sum().backward()
    attention = {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if ".blocks." in name and ".attention." in name
    }
    assert len(attention) == 2 * 3 * 5
    for name, gradient in attention.items():
        assert gradient is not None, name
        # The softmax does not see a bias that all scores share, so its gradient is rounding.
        if not name.endswith("score.bias"):
            assert gradient.abs().max() > 1e-12, name


def test_gradient_reaches_the_text_through_the_attention(small, batch):
    model = MESM(**small)
    # Cut the way of the text's own logits.
    torch.nn.init.zeros_(model.classify_text.weight)
    model(batch).square().sum().backward()
    assert model.text.albert.embeddings.word_embeddings.weight.grad.abs().max() > 1e-12


def test_hard_gives_the_attention_none(small, batch):
    model = MESM(selection="hard", **small)
    model(batch).square().sum().backward()
    for name, parameter in model.named_parameters():
        if ".blocks." in name and ".attention." in name:
            assert parameter.grad is None or not parameter.grad.any(), name
        else:
            assert parameter.grad is not None, name


def test_p_decides_how_much_is_kept_and_computed(small, batch):
    doubling = small | {"channels": (4, 8, 16, 32)}  # the paper's proportions
    model = MESM(**doubling).eval()
    dense = extraction_flops(FE2E(**doubling).eval(), batch)
    kept, flops = [], []
    for p in (0.1, 0.5, 1.0):
        model.set_p(p)
        with torch.no_grad():
            sites = model.kept_sites(batch)
        kept.append(
            {name: [len(maps.features) for maps in blocks] for name, blocks in sites.items()}
        )
        flops.append(extraction_flops(model, batch))
    for name, height, width in (("face", 24, 24), ("audio", 64, 16)):
        frames = {"face": 5, "audio": 4}[name]
        assert flops[0][name] < flops[1][name] < flops[2][name]
        assert kept[0][name][0] < kept[1][name][0] < kept[2][name][0]
        sizes = [frames * (height // 2**block) * (width // 2**block) for block in range(3)]
        assert kept[2][name] == sizes
        # At least one site of each frame.
        assert all(count >= frames for count in kept[0][name])
        # Nearly uniform attention: about half of the sites.
        assert 0.4 < kept[1][name][0] / sizes[0] < 0.6
        assert flops[1][name] < 0.6 * dense[name]


def shares(model, batch) -> dict[str, list[float]]:
    """Per modality and block, kept sites over the sites of the block's maps."""
    with torch.no_grad():
        kept = model.kept_sites(batch)
    return {
        name: [len(x.features) / (x.frames * x.height * x.width) for x in blocks]
        for name, blocks in kept.items()
    }


def test_each_block_keeps_its_own_share(small, batch):
    model = MESM(p={"face": [0.2, 0.9, 1.0], "audio": 0.6}, **small).eval()
    found = shares(model, batch)
    # Untrained, the attention is nearly uniform; a pool makes up to four times the share active.
    assert found["face"][0] == pytest.approx(0.2, abs=0.05)
    assert found["audio"][0] == pytest.approx(0.6, abs=0.05)
    # The second block's candidates are the first block's pooled sites, of which 0.9 are kept.
    model.set_p({"face": [0.2, 1.0, 1.0], "audio": [0.6, 0.1, 1.0]})
    again = shares(model, batch)
    assert again["face"][0] == found["face"][0]
    assert found["face"][1] == pytest.approx(0.9 * again["face"][1], rel=0.1)
    assert again["audio"][1] < 0.4 * found["audio"][1]
    model.set_p([1.0, 1.0, 0.5])
    third = shares(model, batch)
    assert third["face"][:2] == third["audio"][:2] == [1.0, 1.0]
    assert third["face"][2] == pytest.approx(0.5, abs=0.05)


def test_p_of_absent_modalities_may_be_left_out(small):
    model = MESM(modalities="tv", p={"face": 0.3}, **small)
    model.set_p({"face": 0.4, "audio": 0.2})
    assert [block.p for block in model.face.extractor.blocks] == [0.4] * 3
    with pytest.raises(ValueError, match="p has none for face"):
        model.set_p({"audio": 0.2})
    with pytest.raises(ValueError, match="p has none for audio"):
        MESM(p={"face": 0.3}, **small)
    with pytest.raises(ValueError, match="p per block must be 3 numbers"):
        model.set_p([0.5, 0.5])
    assert [block.p for block in model.face.extractor.blocks] == [0.4] * 3


def test_kept_sites_leave_out_absent_modalities(small, batch):
    assert set(MESM(modalities="ta", **small).kept_sites(batch)) == {"audio"}
    assert MESM(modalities="t", **small).kept_sites(batch) == {}


def test_block_widths(small):
    model = MESM(**small)
    blocks = model.feature_extractors["face"].blocks
    assert [tuple(block.attention.map_proj.weight.shape) for block in blocks] == [
        (4, 4), (6, 6), (8, 8),
    ]  # fmt: skip
    assert {block.attention.query_proj.weight.shape[1] for block in blocks} == {12}
    model = MESM(attention_dims=(2, 3, 5), **small)
    blocks = model.feature_extractors["audio"].blocks
    assert [block.attention.score.weight.shape[1] for block in blocks] == [2, 3, 5]


@pytest.mark.parametrize("modalities", ["va", "a", "v"])
def test_needs_text(modalities, small):
    with pytest.raises(ValueError, match=r"MESM needs the text \(t\).*FE2E does without"):
        MESM(modalities=modalities, **small)


@pytest.mark.parametrize("p", [0.0, -0.1, 1.0001, math.nan])
def test_refuses_p_outside_0_to_1(p, small):
    with pytest.raises(ValueError, match=r"p must be in \(0, 1\], got"):
        MESM(p=p, **small)
    model = MESM(**small)
    with pytest.raises(ValueError, match=r"p must be in \(0, 1\], got"):
        model.set_p(p)
    assert {block.p for block in model.feature_extractors["face"].blocks} == {0.5}


def test_refuses_other_settings(small):
    wanted = "selection must be one of weighted, hard, straight_through, got 'soft'"
    with pytest.raises(ValueError, match=wanted):
        MESM(selection="soft", **small)
    with pytest.raises(
        ValueError, match=r"attention_dims must be three positive widths, got \[4\]"
    ):
        MESM(attention_dims=[4], **small)
