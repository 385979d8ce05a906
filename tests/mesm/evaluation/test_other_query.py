"""Another clip's query: who asks whom, what it changes and what stays, and where it is kept."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from mesm.evaluation.evaluate import evaluate_run
from mesm.evaluation.other_query import AskedBy, another_clip, outputs_asked_by_others
from mesm.evaluation.run import Run


@pytest.fixture(scope="module")
def loaded(tiny_mesm):
    return Run.open(tiny_mesm)


@pytest.mark.parametrize("clips", [2, 3, 50])
def test_everyone_is_asked_once_and_nobody_by_itself(clips):
    asking = another_clip(clips)
    assert sorted(asking.tolist()) == list(range(clips))
    assert all(clip != other for clip, other in enumerate(asking.tolist()))
    assert torch.equal(asking, another_clip(clips))


def test_a_single_clip_has_nobody_to_ask_for_it():
    with pytest.raises(ValueError, match="at least two clips in the split, got 1"):
        another_clip(1)


def test_asked_by_its_own_queries_a_model_is_itself(loaded):
    with torch.no_grad():
        own = torch.cat([loaded.sparse.query_and_maps(b)[0] for b in loaded.batches("test")])
    wanted, found = loaded.outputs("test"), loaded.outputs("test", AskedBy(loaded.sparse, own))
    assert torch.equal(found.logits, wanted.logits)
    assert all(torch.equal(found.branches[name], own) for name, own in wanted.branches.items())
    assert not loaded.model.training


def test_faces_and_sound_are_asked_by_another_text_and_the_text_is_its_own(loaded, monkeypatch):
    """The oracle gives every clip the other one's words, and looks at faces and sound alone."""
    for extractor in loaded.sparse.sparse_extractors.values():
        for block in extractor.blocks:
            # Scaled features show a query even where it keeps the same sites.
            monkeypatch.setattr(block.attention, "selection", "weighted")
    dataset = loaded.dataset("test")
    clips = [dataset[place] for place in range(len(dataset))]
    asking = another_clip(len(clips)).tolist()
    swapped = [
        replace(clip, text=clips[other].text) for clip, other in zip(clips, asking, strict=True)
    ]
    with torch.no_grad():
        wanted = loaded.model(loaded.collate(swapped), branches=True).branches
    found = outputs_asked_by_others(loaded, "test")
    own = loaded.outputs("test")
    assert torch.equal(found.branches["text"], own.branches["text"])
    for name, logits in zip(loaded.model.branch_names, wanted, strict=True):
        if name != "text":
            torch.testing.assert_close(found.branches[name], logits, rtol=1e-4, atol=1e-5)
    assert not torch.equal(found.logits, own.logits)


def test_it_is_kept_apart_with_the_difference(tiny_mesm, tmp_path, capsys):
    run = shutil.copytree(tiny_mesm, tmp_path / "run")
    before = json.loads((run / "evaluation.json").read_text())
    scores = evaluate_run(run, query="other")
    assert "asked by another clip's query" in capsys.readouterr().out
    after = json.loads((run / "evaluation.json").read_text())
    assert after["test"] == before["test"]
    assert after["variants"]["test"] == {"query=other threshold=tuned f1=binary": scores}
    difference = scores["own_minus_other"]["average"]["f1"]["difference"]
    own, other = before["test"]["average"]["f1"], scores["average"]["f1"]
    assert difference == pytest.approx(own - other, abs=1e-6)
    assert scores["query"] == "other"


def test_a_system_without_a_query_is_refused(tiny_fe2e):
    with pytest.raises(ValueError, match="wanted a MESM run, got FE2E"):
        evaluate_run(tiny_fe2e, query="other")
