"""`mesm train` under torchrun: steps of two processes are those of one with all their clips."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mesm.runs.checkpoints import read_progress
from mesm.runs.folder import RunFolder
from mesm.training.loop import train
from tests.mesm.trainings import SMALL, settings
from tests.mesm.uneven import uneven

ROOT = Path(__file__).parents[3]
# 13 clips in steps of 12: the last step has one, so a process has none. In float64, as a site that
# rounding alone lets an attention keep or leave makes another gradient.
DOUBLE = """
import sys
from dataclasses import replace
import torch
torch.set_num_threads(1)
import mesm.training.loop as loop
from mesm.data.clips import Collate
build, collate = loop.build_model, Collate.__call__
def double(self, samples):
    batch = collate(self, samples)
    made = {name: getattr(batch, name).double() for name in ("faces", "spectrograms", "labels")}
    return replace(batch, **made)
loop.build_model = lambda *arguments: build(*arguments).double()
made = loop.Teacher.__init__
def teacher(self, *arguments):
    made(self, *arguments)
    self.model.double()
loop.Teacher.__init__ = teacher
Collate.__call__ = double
torch.Tensor.float = torch.Tensor.double
from mesm.__main__ import main
main()
"""
SETTINGS = [
    *SMALL,
    *("model.dropout=0", "model.text.dropout=0", "training.epochs=2", "training.seed=2"),
    *("training.branch_loss=0.3", "training.concentration=1", "training.concentration_target=0.5"),
    *("training.p_drawn=0.5", "training.weight_decay=0.01"),
]


def start(
    script: Path, processes: int, run: Path, corpus: Path, *overrides: str, teacher: Path
) -> subprocess.Popen[str]:
    launcher = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc_per_node={processes}",
        "--",
    ]
    words = ["train", "iemocap_mesm", "--run", str(run), f"corpus={corpus}", *SETTINGS, *overrides]
    words.append(f"training.teacher={teacher}")
    return subprocess.Popen(
        [sys.executable, *(launcher if processes > 1 else []), str(script), *words],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    return said


def test_two_processes_are_one_with_all_clips(tiny_corpus: Path, tmp_path: Path) -> None:
    corpus, script = uneven(tiny_corpus, tmp_path / "corpus"), tmp_path / "script.py"
    script.write_text(DOUBLE)
    teacher = train(settings(corpus, "training.epochs=1", model="fe2e"), tmp_path / "teacher")
    one, two = tmp_path / "one", tmp_path / "two"
    alone = start(script, 1, one, corpus, "training.batch_size=12", teacher=teacher)
    finish(alone)
    said = finish(start(script, 2, two, corpus, "training.batch_size=6", teacher=teacher))
    assert said.count("all 2 epochs done") == 1  # one process tells
    for name in ("model", "last/model", "last/optimizer"):
        wanted, found = (load_file(run / f"{name}.safetensors") for run in (one, two))
        assert wanted.keys() == found.keys()
        for key, value in wanted.items():
            torch.testing.assert_close(found[key], value, rtol=1e-7, atol=1e-9, msg=key)
    rows = [
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (one, two)
    ]
    for wanted, found in zip(*rows, strict=True):
        for name in ("train_loss", "gradient_norm", "valid_loss", "valid_f1"):
            assert found[name] == pytest.approx(wanted[name], rel=1e-6), name
    progress = read_progress(RunFolder(two))
    assert progress is not None
    assert progress.processes == 2
