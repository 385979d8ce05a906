import os

import pytest

from mesm.corpora import finishing, prepare
from mesm.corpora.assembly import Shard, one_by_one
from mesm.corpora.finishing import is_generated
from mesm.corpora.prepared import PreparedCorpus
from mesm.corpora.utterances import RawCorpus
from mesm.runs.processes import side_by_side
from tests.mesm.corpora.test_parts import contents


def test_few_files_are_written_by_this_process_and_many_by_others():
    assert finishing._each(8, 4, None) is one_by_one
    assert finishing._each(100, 1, None) is one_by_one
    several = finishing._each(9, 4, None)
    assert (several.func, several.keywords) == (side_by_side, {"workers": 4})
    assert finishing._each(100, None, None).keywords["workers"] == (os.cpu_count() or 1)


def test_files_written_by_several_processes_are_those_of_one(prepared, tmp_path, monkeypatch):
    raw, wanted = prepared("iemocap")
    monkeypatch.setattr(finishing, "FEW_FILES", 0)
    monkeypatch.setattr(finishing, "CLIPS_PER_FILE", 1)
    used = []
    kept = finishing.side_by_side
    monkeypatch.setattr(
        finishing, "side_by_side", lambda *a, workers: used.append(workers) or kept(*a, workers)
    )
    out = tmp_path / "out"
    prepare.prepare("iemocap", raw, out, prepare.PrepareOptions(min_face_size=80, workers=2))
    assert used == [2]
    assert contents(out) == contents(wanted)


def test_a_file_that_kills_its_workers_is_named(tmp_path):
    shard = Shard(tmp_path / "train-00000-of-00001.parquet", (), 2, True)
    with pytest.raises(ChildProcessError, match=r"^train-00000.* its worker died 3 times; run ag"):
        finishing._gave_up(shard, "its worker died 3 times")


def test_a_generated_corpus_is_known_by_its_ground_truth(prepared, tmp_path):
    assert PreparedCorpus.open(prepared("iemocap")[1]).manifest.synthetic is True
    root = tmp_path / "corpus"
    root.mkdir()
    alone, came_in_a_folder = RawCorpus("any", root), RawCorpus("any", root, home=tmp_path)
    (tmp_path / "ground_truth.jsonl").touch()
    # In the folder that the corpus came in it speaks of it; beside another it may be of anything.
    assert is_generated(came_in_a_folder) is True
    assert is_generated(alone) is False
    (root / "ground_truth.jsonl").touch()
    (tmp_path / "ground_truth.jsonl").unlink()
    assert is_generated(alone) is is_generated(came_in_a_folder) is True
    (root / "ground_truth.jsonl").unlink()
    assert is_generated(came_in_a_folder) is False
