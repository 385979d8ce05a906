import pytest
import torch

from mesm.models import FE2E, MESM

CASES = [(FE2E, subset) for subset in ("tav", "ta", "tv", "va", "t", "a", "v")]
CASES += [(MESM, subset) for subset in ("tav", "ta", "tv", "t")]


@pytest.fixture
def batch(make_batch):
    return make_batch(faces=[3, 0, 2], chunks=[1, 4, 2], words=[5, 3, 9])


@pytest.mark.parametrize(("model", "modalities"), CASES)
def test_each_subset_of_modalities_learns(model, modalities, small, batch):
    network = model(modalities=modalities, **small)
    logits = network(batch)
    assert logits.shape == (3, 6)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    extractors = {"v": "face", "a": "audio"}
    assert set(network.feature_extractors) == {extractors[x] for x in modalities if x in extractors}
    names = {"t": "text", "a": "audio", "v": "face"}
    assert network.branch_names == tuple(names[x] for x in "tav" if x in modalities)


@pytest.mark.parametrize("model", [FE2E, MESM])
def test_branches_stand_in_the_order_of_their_names(model, small, batch):
    network = model(**small).eval()
    with torch.no_grad():
        before = network(batch, branches=True)
        changed = {
            "text": network.classify_text.bias,
            "audio": network.audio.classify.bias,
            "face": network.face.classify.bias,
        }
        for place, name in enumerate(network.branch_names):
            changed[name] += 1
            found = network(batch, branches=True)
            same = (found.branches == before.branches).all(-1).all(-1)
            assert same.tolist() == [other != place for other in range(3)]
            torch.testing.assert_close(found.logits, network(batch), rtol=0, atol=0)
            before = found


@pytest.mark.parametrize(("model", "modalities"), CASES)
def test_a_batch_of_one_equals_its_row_in_a_padded_batch(model, modalities, small, batch, row_of):
    network = model(modalities=modalities, **small)
    with torch.no_grad():
        for _ in range(3):  # running statistics that are not the initial ones
            network(batch)
        network.eval()
        whole = network(batch)
        for place in range(3):
            alone = network(row_of(batch, place))
            torch.testing.assert_close(alone[0], whole[place], rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", [FE2E, MESM])
def test_only_its_modalities_count(model, small, batch):
    network = model(modalities="ta", **small).eval()
    before = network(batch)
    batch.faces = batch.faces + 1
    torch.testing.assert_close(network(batch), before, rtol=0, atol=0)
    batch.spectrograms = batch.spectrograms + 1
    assert not torch.allclose(network(batch), before)


@pytest.mark.parametrize("model", [FE2E, MESM])
def test_a_batch_without_any_face_or_chunk_trains(model, small, make_batch):
    network = model(**small)
    logits = network(make_batch(faces=[0, 0], chunks=[0, 0], words=[3, 2]))
    assert logits.shape == (2, 6)
    logits.sum().backward()


@pytest.mark.parametrize("model", [FE2E, MESM])
def test_order_of_frames_counts(model, small, make_batch):
    # float64: untrained, frames move the logits by little.
    network = model(modalities="tv", **small).double().eval()
    batch = make_batch(faces=[4], chunks=[1], words=[3])
    batch.faces = batch.faces.double()
    before = network(batch)
    batch.faces = batch.faces.flip(0)
    assert (network(batch) - before).abs().max() > 1e-9


@pytest.mark.parametrize("model", [FE2E, MESM])
def test_saves_and_loads_as_a_hub_model(model, small, batch, tmp_path):
    network = model(**small).eval()
    network.save_pretrained(tmp_path)
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".json", ".md", ".safetensors"]
    again = model.from_pretrained(tmp_path)
    torch.testing.assert_close(again(batch), network(batch), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"modalities": "txv"}, "modalities must be one of"),
        ({"modalities": ""}, "modalities must be one of"),
        ({"modalities": "ttv"}, "modalities must be one of"),
        ({"channels": (4, 8)}, r"channels must be four positive widths, got \[4, 8\]"),
        ({"dim": 9}, "dim must be even and divisible by heads=2, got 9"),
    ],
)
@pytest.mark.parametrize("model", [FE2E, MESM])
def test_refuses(model, arguments, message, small):
    with pytest.raises(ValueError, match=message):
        model(**(small | arguments))
