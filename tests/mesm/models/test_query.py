"""Who asks the attention: each query against an independent computation, and what it reaches."""

import pytest
import torch
import torch.nn.functional as F

from mesm.analysis.attention_trace import trace_attention
from mesm.analysis.costs import FlopTally, Stopwatch
from mesm.models import FE2E, MESM
from mesm.models.query import QueryEncoder, pool_grid, query_sources

# Query and modalities; the text may be left out where it does not ask.
CASES = [(query, "tav") for query in ("audio", "face", "mean")]
CASES += [("audio", "va"), ("face", "va"), ("mean", "va"), ("audio", "ta"), ("face", "v")]
CASES += [("mean", "t"), ("mean", "a")]


@pytest.fixture
def batch(make_batch):
    """The second clip has no face, the third no sound."""
    return make_batch(faces=[3, 0, 2], chunks=[1, 4, 0], words=[5, 3, 9])


def expected_query(model, batch, sources):
    """Clip by clip and frame by frame."""
    rows = []
    for clip in range(len(batch)):
        vectors = []
        for name in sources:
            project = model.query_encoder.project[name]
            if name == "text":
                found = model.text(batch.text_ids, batch.text_mask)[clip]
            else:
                frames = batch.faces if name == "face" else batch.spectrograms
                lengths = batch.face_lengths if name == "face" else batch.spectrogram_lengths
                mine = frames.split(lengths.tolist())[clip]
                if len(mine) == 0:
                    continue
                extractor = model.face.extractor if name == "face" else model.audio.extractor
                found = F.adaptive_avg_pool2d(extractor.stage(mine), 4).flatten(1).mean(0)
            linear, norm = project
            x = found @ linear.weight.T + linear.bias
            x = (x - x.mean()) / (x.var(unbiased=False) + norm.eps).sqrt()
            vectors.append(x * norm.weight + norm.bias)
        width = model.query_encoder.project[sources[0]][0].out_features
        rows.append(torch.stack(vectors).mean(0) if vectors else torch.zeros(width))
    return torch.stack(rows)


@pytest.mark.parametrize(("query", "modalities"), CASES)
def test_query_is_that_of_an_independent_computation(query, modalities, small, batch):
    torch.manual_seed(0)
    model = MESM(query=query, modalities=modalities, **small).eval()
    for parameter in model.query_encoder.parameters():
        torch.nn.init.normal_(parameter)
    letters = {"text": "t", "audio": "a", "face": "v"}
    sources = [query] if query != "mean" else [n for n, m in letters.items() if m in modalities]
    with torch.no_grad():
        found, first_maps = model.query_and_maps(batch)
        expected = expected_query(model, batch, sources)
    assert set(first_maps) == set(model.feature_extractors)
    # Float32 sums of up to 64 products, each of an average of up to 64 sites.
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_text_asks_as_it_always_did(small, batch):
    model = MESM(**small).eval()
    assert not any("query_encoder" in name for name in model.state_dict())
    with torch.no_grad():
        query, first_maps = model.query_and_maps(batch)
        assert torch.equal(query, model.text(batch.text_ids, batch.text_mask))
        assert torch.equal(first_maps["face"], model.face.extractor.stage(batch.faces))


@pytest.mark.parametrize(("query", "modalities"), CASES[:8])
def test_logits_are_those_of_the_extractors_asked_by_the_query(query, modalities, small, batch):
    model = MESM(query=query, modalities=modalities, **small).eval()
    with torch.no_grad():
        asked, _ = model.query_and_maps(batch)
        logits = []
        if model.text is not None:
            logits.append(model.classify_text(model.text(batch.text_ids, batch.text_mask)))
        for view in model.views(batch):
            features = view.branch.extractor(view.frames, asked, view.lengths)
            logits.append(view.branch(features, view.lengths))
        assert torch.equal(model(batch), model.fuse(torch.stack(logits)))


@pytest.mark.parametrize(("query", "modalities"), CASES[:8])
def test_a_batch_of_one_equals_its_row(query, modalities, small, batch, row_of):
    network = MESM(query=query, modalities=modalities, **small)
    with torch.no_grad():
        for _ in range(3):  # running statistics that are not the initial ones
            network(batch)
        network.eval()
        whole = network(batch)
        for place in range(3):
            alone = network(row_of(batch, place))
            torch.testing.assert_close(alone[0], whole[place], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("query", "modalities"), CASES[:8])
def test_gradients_reach_the_query_encoder(query, modalities, small, batch):
    model = MESM(query=query, modalities=modalities, query_shuffle=0.5, **small)
    model(batch).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        if name.startswith("query_encoder."):
            assert parameter.grad.abs().max() > 1e-12, name


def test_hard_gives_the_query_encoder_none(small, batch):
    model = MESM(query="audio", selection="hard", **small)
    model(batch).square().sum().backward()
    for parameter in model.query_encoder.parameters():
        assert parameter.grad is None or not parameter.grad.any()


def test_the_asking_modality_decides_what_is_kept_elsewhere(small, batch):
    # float64: untrained, queries move the logits by little.
    model = MESM(query="audio", modalities="va", **small).double().eval()
    batch.faces, batch.spectrograms = batch.faces.double(), batch.spectrograms.double()
    with torch.no_grad():
        before = trace_attention(model, batch)["face"][0].attention
        batch.spectrograms = batch.spectrograms * 3 + 1
        after = trace_attention(model, batch)["face"][0].attention
    assert abs(after[:3] - before[:3]).max() > 1e-9  # the first clip's faces
    assert abs(after[3:] - before[3:]).max() == 0  # the third clip has no sound


@pytest.mark.parametrize("query", ["text", "audio", "face", "mean"])
def test_traced_and_kept_sites_agree(query, small, batch):
    model = MESM(query=query, p=[0.9, 0.3, 0.6], **small).eval()
    with torch.no_grad():
        kept = model.kept_sites(batch)
    for name, blocks in trace_attention(model, batch).items():
        for block, maps in zip(blocks, kept[name], strict=True):
            assert (block.kept == maps.mask().numpy()).all()


@pytest.mark.parametrize("query", ["audio", "mean"])
def test_a_batch_without_any_frame_trains(query, small, make_batch):
    model = MESM(query=query, **small)
    logits = model(make_batch(faces=[0, 0], chunks=[0, 0], words=[3, 2]))
    logits.sum().backward()
    assert logits.isfinite().all()


def test_bfloat16(small, batch):
    model = MESM(query="mean", **small)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(batch)
    logits.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_the_query_is_counted_and_stages_are_counted_once(small, batch):
    """All that a query of its own adds is its linear layers, counted by hand."""
    texts, means = FlopTally(), FlopTally()
    for query, tally in (("text", texts), ("mean", means)):
        model = MESM(query=query, p=1.0, **small).eval()
        tally.count(model, batch)
        watch = Stopwatch()
        watch.time(model, batch)
        assert 0 < watch.extraction[0] < watch.whole[0]
    plain, asked = texts.per_clip(1)["by_modality"], means.per_clip(1)["by_modality"]
    channels, width = small["channels"][0], small["albert"]["hidden_size"]
    assert asked.pop("query") == 2 * 3 * (width * width + 2 * channels * 16 * width)
    assert asked == plain


def test_saves_and_loads_as_a_hub_model(small, batch, tmp_path):
    network = MESM(query="face", p={"face": [0.7, 0.5, 0.5], "audio": 0.3}, **small).eval()
    network.save_pretrained(tmp_path)
    again = MESM.from_pretrained(tmp_path).eval()
    assert [block.p for block in again.face.extractor.blocks] == [0.7, 0.5, 0.5]
    assert torch.equal(again(batch), network(batch))


def test_pool_grid():
    maps = torch.randn(2, 3, 24, 8)
    torch.testing.assert_close(pool_grid(maps), F.adaptive_avg_pool2d(maps, 4).flatten(1))


@pytest.mark.parametrize(
    ("query", "modalities", "message"),
    [
        ("smell", "tav", "query must be one of text, audio, face, mean, got 'smell'"),
        ("audio", "tv", r"MESM needs the audio \(a\), which is the query .*'tv'"),
        ("face", "ta", r"MESM needs the face \(v\), which is the query .*'ta'"),
    ],
)
def test_refuses(query, modalities, message, small):
    with pytest.raises(ValueError, match=message):
        query_sources(query, modalities)
    with pytest.raises(ValueError, match=message):
        MESM(query=query, modalities=modalities, **small)


def test_fe2e_counts_its_extractors(small):
    model = FE2E(modalities="tv", **small)
    assert model.counted_modules == {"face": [model.face.extractor]}


def test_a_clip_without_a_text_has_it_left_out_of_the_mean():
    torch.manual_seed(3)
    encoder = QueryEncoder(("text", "audio"), 4, 6, 8).eval()
    text, maps = torch.randn(2, 6), {"audio": torch.randn(2, 4, 8, 8)}
    lengths, longest = {"audio": torch.tensor([1, 1])}, {"audio": 1}
    whole = encoder(text, maps, lengths, longest)
    there = torch.tensor([True, False])
    found = encoder(text, maps, lengths, longest, there)
    torch.testing.assert_close(found[0], whole[0])
    alone = encoder.project["audio"](pool_grid(maps["audio"]))
    torch.testing.assert_close(found[1], alone[1])
