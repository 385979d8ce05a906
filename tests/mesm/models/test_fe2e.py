import torch
from torch.utils.flop_counter import FlopCounterMode

from mesm.models import FE2E


def flops(model, batch) -> dict[str, dict]:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(batch)
    return {
        name.removeprefix("FE2E."): sum(ops.values())
        for name, ops in counter.get_flop_counts().items()
    }


def test_computes_what_the_papers_network_computes(small, make_batch):
    """Multiply-accumulates per frame in millions, to within one."""
    paper = small | {"channels": (64, 128, 256, 512), "hidden": 1024, "dim": 64, "heads": 4}
    counts = flops(FE2E(**paper).eval(), make_batch(faces=[2], chunks=[1], words=[3]))
    per_face, per_chunk = 2 * 2e6, 2 * 1e6
    assert abs(counts["face.extractor"] / per_face - 478) < 1
    assert abs(counts["face.extractor.stage"] / per_face - 96) < 1
    assert abs(counts["audio.extractor"] / per_chunk - 837) < 1
    assert abs(counts["audio.extractor.stage"] / per_chunk - 157) < 1


def test_map_sizes(small, make_batch):
    paper = small | {"channels": (64, 128, 256, 512)}
    model = FE2E(**paper).eval()
    batch = make_batch(faces=[1], chunks=[1], words=[3])
    with torch.no_grad():
        extractors = model.feature_extractors
        assert extractors["face"](batch.faces, None, None).shape == (1, 512, 3, 3)
        assert extractors["audio"](batch.spectrograms, None, None).shape == (1, 512, 8, 2)
