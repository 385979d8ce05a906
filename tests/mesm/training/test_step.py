"""One step: what it learns, that nothing in it waits, and that a GPU learns what a CPU does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.gate import full_float32
from benchmarks.models import EMOTIONS, draw_batch, make_model
from benchmarks.shapes import PAPER_BATCH
from mesm.training.losses import TrainingLoss
from mesm.training.optimizer import make_optimizer
from mesm.training.step import TrainingStep
from mesm_ops import use_backend
from tests.mesm.training.no_waiting import WaitingError, no_waiting

CHANNELS = (8, 16, 16, 32)
CLIPS = replace(PAPER_BATCH, count=3, faces=2, chunks=2)
RATE = 1e-3


def settings(**changed: Any) -> Any:
    """The part of `TrainingSettings` that a step reads, made without pydantic."""
    given: dict[str, Any] = {"learning_rate": RATE, "weight_decay": 0.0, "gradient_clip": 1.0}
    given |= {"text_learning_rate_factor": 1.0, "attention_learning_rate_factor": 1.0}
    given |= {"branch_loss": 0.3, "concentration": 0.0, "concentration_target": 0.9}
    return SimpleNamespace(**given | {"concentrated": ["face", "audio"]} | changed)


def make_step(
    name: str,
    device: str,
    wrap: Callable[[nn.Module], nn.Module] = nn.Identity,
    **changed: Any,
) -> TrainingStep:
    """A step of a small model that drops nothing out, whatever the device draws."""
    given = settings(**changed)
    model = make_model(name, CHANNELS, dropout=0.0, layers=1, feedforward=64).to(device).train()
    loss = TrainingLoss(torch.full((EMOTIONS,), 2.0).to(device), given)
    wrapped = model if wrap is nn.Identity else wrap(model)
    return TrainingStep(wrapped, make_optimizer(model, given), loss, given, device)


def test_learns_as_plain_torch_does() -> None:
    batch, step, other = draw_batch(CLIPS), make_step("MESM", "cpu"), make_step("MESM", "cpu")
    losses, norms = [], []
    for _ in range(3):
        step(batch, 0.5)
        outputs = other.model(batch, branches=True)
        value = other.loss(outputs, batch.labels, 0.5)
        value.backward()
        norms.append(float(nn.utils.clip_grad_norm_(other.model.parameters(), 1.0)))
        other.optimizer.step()
        other.optimizer.zero_grad()
        losses.append(float(value.detach()))
    for name, tensor in step.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[name]), name
    means = step.means()
    assert means.loss == pytest.approx(sum(losses) / 3, rel=1e-6)
    assert means.gradient_norm == pytest.approx(sum(norms) / 3, rel=1e-6)
    assert means.clips == 9
    assert losses[2] < losses[0]
    assert step.means(lambda sums: 2 * sums) == means._replace(clips=18)  # two alike processes
    step.start()
    step(batch, 0.5)
    assert step.means().clips == 3


def test_a_norm_is_told_where_there_is_one() -> None:
    step = make_step("FE2E", "cpu", gradient_clip=None)
    step(draw_batch(CLIPS), 0.0)
    assert step.means().gradient_norm is None
    step = make_step("FE2E", "cpu")
    step.norm_sum += torch.inf
    assert step.means().gradient_norm is None


@pytest.mark.parametrize(("name", "concentration"), [("MESM", 0.0), ("MESM", 1.0), ("FE2E", 0.0)])
def test_nothing_waits_for_the_device(name: str, concentration: float) -> None:
    batch = draw_batch(CLIPS).to("meta")
    step = make_step(name, "meta", concentration=concentration)
    with no_waiting():
        step.start()
        for _ in range(2):
            step(batch, 0.5)
    assert step.clips == 6


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: x.cpu(),
        lambda x: x.add_(torch.ones(3).to("meta")),
        lambda x: x.copy_(torch.ones(3)),
        lambda x: x.new_tensor([1.0, 2.0, 3.0]),
        lambda x: torch.tensor(1.0, device="meta"),
    ],
    ids=["item", "bool", "nonzero", "mask", "select", "to the host", "to", "copy", "new", "number"],
)
def test_waiting_would_be_noticed(wait: Callable[[Tensor], Any]) -> None:
    x = torch.empty(3, device="meta")
    with pytest.raises(WaitingError), no_waiting():
        wait(x)


def test_what_does_not_wait_is_let_through() -> None:
    with no_waiting():
        x = torch.ones(3).to("meta", non_blocking=True)
        x += torch.full_like(x, 2.0) * 3
        torch.ones(3)[torch.ones(3) > 0].sum().item()


def two_steps(
    device: str,
    *,
    waiting: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    wrapper: Callable[[nn.Module], nn.Module] = nn.Identity,
) -> tuple[float, dict[str, Tensor]]:
    """The mean loss of two steps and the state after them."""
    batch = draw_batch(CLIPS).to(device)
    make_step("MESM", device, wrapper)(batch, 0.5)  # kernels load and choose their tiles
    step = make_step("MESM", device, wrapper)
    # Adam divides a gradient by its own size: one that is nothing but rounding would move a weight
    # by a whole rate, this way or that. Beside this eps it moves none.
    for group in step.optimizer.param_groups:
        group["eps"] = 1e-2
    with waiting():
        for _ in range(2):
            step(batch, 0.5)
    return step.means().loss, {n: t.cpu() for n, t in step.model.state_dict().items()}


def assert_alike(
    got: tuple[float, dict[str, Tensor]], wanted: tuple[float, dict[str, Tensor]]
) -> None:
    """Compare two trainings of float32 whose sums are in another order.

    A gradient is a sum of up to 1e5 products over layers and rows, relatively exact to 1e-4 of the
    largest; the norm is limited to 1, so it is off by 1e-4 at most, and a weight, which a step
    moves by rate * gradient / (|gradient| + eps), by 1e-4 / 1e-2 of the rate in each of two steps.
    """
    assert got[0] == pytest.approx(wanted[0], rel=1e-4)
    for name, tensor in wanted[1].items():
        atol = 2e-2 * RATE if "running" not in name else 1e-4
        torch.testing.assert_close(
            got[1][name],
            tensor,
            rtol=1e-4 if "running" in name else 0,
            atol=atol,
            msg=lambda m, n=name: f"{n}: {m}",
        )


def test_backends_of_a_cpu_learn_alike() -> None:
    found = []
    for backend in ("reference", "auto"):
        with use_backend(backend):
            found.append(two_steps("cpu"))
    assert_alike(found[1], found[0])
    # Learning moves weights by far more than they may differ.
    start = make_step("MESM", "cpu").model.state_dict()
    moved = [(found[0][1][n] - t).abs().max() for n, t in start.items() if "weight" in n]
    assert sum(float(most) > 0.2 * RATE for most in moved) > len(moved) / 3


@contextlib.contextmanager
def waiting_is_an_error() -> Iterator[None]:
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_a_gpu_learns_what_a_cpu_does() -> None:
    with full_float32():
        got = two_steps("cuda", waiting=waiting_is_an_error)
    assert_alike(got, two_steps("cpu"))


@pytest.mark.gpu
def test_a_gpu_learns_in_bfloat16() -> None:
    class LowPrecision(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, batch: Any, **options: Any) -> Any:
            with torch.autocast("cuda", torch.bfloat16):
                return self.model(batch, **options)

    loss, state = two_steps("cuda", waiting=waiting_is_an_error, wrapper=LowPrecision)
    # A few roundings of 2^-8 on the way to the logits.
    assert loss == pytest.approx(two_steps("cpu")[0], rel=5e-2)
    assert all(tensor.isfinite().all() for tensor in state.values())
