"""A training step where there are torch and transformers, and little else of what mesm uses."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]

# Modules that must not be found are hidden from every finder: a library that looks whether one of
# them is there sees that it is not.
HIDE = """
import sys

HIDDEN = set({hidden!r})

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            return None
        return self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
try:
    import pydantic
except ModuleNotFoundError:
    print("pydantic is hidden")
"""
STEP = """
from dataclasses import replace
from types import SimpleNamespace

import torch
from benchmarks.models import draw_batch, make_model
from benchmarks.shapes import PAPER_BATCH
from mesm.training.losses import TrainingLoss
from mesm.training.optimizer import make_optimizer, set_learning_rate
from mesm.training.step import TrainingStep
from mesm.training.p_schedule import p_of_epoch

torch.set_num_threads(1)
settings = SimpleNamespace(
    learning_rate=1e-3, text_learning_rate_factor=0.1, attention_learning_rate_factor=1.0,
    weight_decay=0.0, gradient_clip=1.0, warmup_steps=0, schedule="constant", epochs=4,
    p_hold_epochs=0, p_warmup_epochs=2,
    p_start=1.0, p_shape="linear", branch_loss=0.3, concentration=1.0, concentration_target=0.9,
    concentrated=["face"],
)
model = make_model("MESM", (4, 6, 8, 10)).train()
model.set_p(p_of_epoch(0.5, settings, 2))
optimizer = make_optimizer(model, settings)
set_learning_rate(optimizer, settings, 0, 10)
step = TrainingStep(model, optimizer, TrainingLoss(torch.ones(6), settings), settings, "cpu")
step(draw_batch(replace(PAPER_BATCH, count=2, faces=2, chunks=1)), 0.6)
assert step.means().loss > 0

# Tests marked gpu run there too.
import tests.mesm.conftest
import tests.mesm.training.test_step
"""
NOT_FOR_A_STEP = (
    *("pydantic", "soundfile", "av", "datasets", "librosa", "scipy", "sklearn", "pyarrow"),
    *("PIL", "matplotlib", "accelerate", "tensorboard", "typer", "jinja2", "soxr"),
)


def run(source: str, *hidden: str) -> subprocess.CompletedProcess[str]:
    """A fresh process in which modules of these names are not found."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HIDE.format(hidden=hidden) + source],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def test_a_step_needs_little() -> None:
    done = run(STEP, *NOT_FOR_A_STEP)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["pydantic is hidden"]


@pytest.mark.parametrize("module", ["mesm.models", "mesm.training.loop", "mesm.evaluation.run"])
def test_a_training_reads_no_raw_media(module: str) -> None:
    raw_media = ("soundfile", "av", "datasets", "librosa", "scipy", "matplotlib", "soxr")
    done = run(f"import {module}", *raw_media)
    assert done.returncode == 0, done.stderr


def test_what_is_hidden_is_not_found() -> None:
    done = run("import mesm.config.experiment", "pydantic")
    assert "No module named 'pydantic'" in done.stderr


TRAIN = """
import tempfile
import mesm.cli, mesm.evaluation.evaluate, mesm.training.loop
from torch.utils.tensorboard import SummaryWriter

with tempfile.TemporaryDirectory() as folder:
    with SummaryWriter(folder) as writer:
        writer.add_scalar("loss", 1.0, 1)
"""


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def with_needs(*roots: str) -> set[str]:
    """Distributions and all that they require here."""
    todo, found = list(roots), set()
    while todo:
        name = plain(todo.pop())
        if name in found:
            continue
        found.add(name)
        needs = map(Requirement, importlib.metadata.requires(name) or ())
        todo += [r.name for r in needs if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def test_the_wheels_are_all_that_a_training_needs() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    (wheels,) = re.findall(r"^GPU_WHEELS \?= (.+)$", makefile, re.MULTILINE)
    (pyarrow,) = re.findall(r"^GPU_PYARROW \?= (\w+)==", makefile, re.MULTILINE)
    carried = {*wheels.split(), pyarrow}
    assert not carried & {"torch", "triton"}
    there = with_needs("torch", "transformers", "huggingface_hub") | carried | {"mesm"}
    hidden = [
        top
        for top, names in importlib.metadata.packages_distributions().items()
        if not {plain(name) for name in names} & there
    ]
    assert {"librosa", "scipy", "grpc"} <= set(hidden)
    done = run(TRAIN, *hidden)
    assert done.returncode == 0, done.stderr
