from __future__ import annotations

import pytest
import torch

from mesm_ops.triton.parts.running import Running, move_running
from tests.mesm_ops.triton.parts.test_reductions import DEVICE, exact_moments, number_of


@pytest.mark.parametrize("momentum", [0.1, 0.75, 1.0])
@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_running_statistics_move_as_torch_moves_them(count: int, momentum: float) -> None:
    channels = (9, 300)
    for given in (momentum, torch.tensor(momentum, device=DEVICE)):
        norms, wanted = [], []
        for number in channels:
            rows = torch.randn(count, number) * 2 + 3
            want = torch.nn.BatchNorm1d(number, momentum=momentum, dtype=torch.float64)
            torch.nn.init.normal_(want.running_mean)
            torch.nn.init.uniform_(want.running_var, 0.5, 2)
            old = [t.float().to(DEVICE) for t in (want.running_mean, want.running_var)]
            if count > 1:
                want(rows.double())
            elif count:  # torch refuses one row; its variance of zero is taken as it is
                want.running_mean.lerp_(rows[0].double(), momentum)
                want.running_var.mul_(1 - momentum)
            batch = [t.float().to(DEVICE) for t in exact_moments(rows)]
            norms.append(Running(*old, *batch, given, torch.tensor(number, device=DEVICE)))
            wanted.append(want)
        before = [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms]
        move_running(number_of(count), *norms)
        assert [int(norm.batches) for norm in norms] == [n + (count > 0) for n in channels]
        for norm, want, (mean, var) in zip(norms, wanted, before, strict=True):
            if not count:
                assert torch.equal(norm.running_mean, mean)
                assert torch.equal(norm.running_var, var)
                continue
            for got, exact in (
                (norm.running_mean, want.running_mean),
                (norm.running_var, want.running_var),
            ):
                torch.testing.assert_close(got.cpu().double(), exact, rtol=1e-5, atol=4e-6)


def test_running_statistics_of_narrow_parameters() -> None:
    rows = torch.randn(50, 4)
    old = [torch.randn(4).bfloat16(), torch.rand(4).bfloat16()]
    batch = [t.float().to(DEVICE) for t in exact_moments(rows)]
    norms = [Running(*(t.clone().to(DEVICE) for t in old), *batch, 0.25) for _ in range(2)]
    move_running(number_of(50), *norms)
    wanted = [old[0].float().lerp(rows.mean(0), 0.25), old[1].float().lerp(rows.var(0), 0.25)]
    for norm in norms:
        for a, b in zip(norm[:2], wanted, strict=True):
            torch.testing.assert_close(a.cpu().float(), b, rtol=2**-8, atol=1e-6)
