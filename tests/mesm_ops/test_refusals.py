"""Objects that make no sense are refused: by the name of op and argument, with what came."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import mesm_ops
from mesm_ops import (
    CrossModalAttention,
    NormParameters,
    SparseBatchNorm,
    SparseCrossModalBlock,
    SparseFeatureMaps,
    SubmConv2d,
)
from tests.faults import ops as random_calls
from tests.mesm_ops.cases import make_case

ROOT = Path(__file__).parents[2]
NAN, INF = float("nan"), float("inf")


def maps(dtype: torch.dtype = torch.float32) -> SparseFeatureMaps:
    return make_case(2, 3, 4, 5, 0.8, dtype).x


def refused(message: str) -> pytest.RaisesExc[ValueError]:
    return pytest.raises(ValueError, match=f"^{re.escape(message)}")


def norm(**changes: Any) -> Callable[[], SparseFeatureMaps]:
    one = torch.ones(3)
    given: dict[str, Any] = {
        **{"running_mean": 0 * one, "running_var": one, "weight": one, "bias": one},
        **changes,
    }
    return lambda: mesm_ops.sparse_batch_norm(maps(), **given)


SHARED = torch.ones(3)
SAYS = "sparse_batch_norm: "


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (norm(momentum=NAN), "momentum must be a number from 0 to 1 or a tensor, got nan"),
        (norm(momentum=INF), "momentum must be a number from 0 to 1 or a tensor, got inf"),
        (norm(momentum=-1), "momentum must be a number from 0 to 1 or a tensor, got -1"),
        (norm(momentum=2), "momentum must be a number from 0 to 1 or a tensor, got 2"),
        (norm(momentum=1j), "momentum must be a number from 0 to 1 or a tensor, got 1j"),
        (norm(momentum=None), "momentum must be a number from 0 to 1 or a tensor, got None"),
        (norm(momentum=torch.ones(2)), "momentum must be one number, or one for each of 3"),
        (norm(eps=NAN), "eps must be finite and at least 0, got nan"),
        (norm(eps=INF), "eps must be finite and at least 0, got inf"),
        (norm(eps=-1e-5), "eps must be finite and at least 0, got -1e-05"),
        (norm(eps="0.1"), "eps must be finite and at least 0, got '0.1'"),
        (norm(training=NAN), "training must be True or False, got nan"),
        (norm(relu=None), "relu must be True or False, got None"),
        (
            norm(running_mean=SHARED, running_var=SHARED),
            "running_mean and running_var must be two tensors, got one twice",
        ),
        (
            norm(running_mean=SHARED, running_var=SHARED.view(3), training=True),
            "running_mean and running_var must be two tensors, got one twice",
        ),
        (norm(weight=SHARED.to_sparse()), "weight must be a dense tensor, got one of torch.sparse"),
    ],
)
def test_norms(call: Callable[[], object], message: str) -> None:
    with refused(SAYS + message):
        call()


@pytest.mark.parametrize("training", [True, False])
def test_a_negative_variance(backend: str, training: bool) -> None:
    running_var = torch.tensor([1.0, -2.0, torch.nan])
    message = "running_var must not be negative, got -2"
    with pytest.raises((ValueError, RuntimeError), match=f"^sparse_batch_norm: {message}"):
        norm(running_var=running_var, training=training)()
    block = SparseCrossModalBlock(3, 5, 6, 4).train(training)
    block.norm2.running_var[3] = -1
    with pytest.raises((ValueError, RuntimeError), match=r"running_var.* must not be negative"):
        block(maps(), torch.ones(2, 6))
    norm(running_var=running_var.abs())()  # a NaN must reach the loss


@pytest.mark.parametrize("p", [None, "0.5", [0.5], 1j, torch.ones(2), True, NAN, 0, -1, 2])
def test_p(p: Any) -> None:
    x = maps()
    for call, name in (
        (lambda: mesm_ops.top_p_select(x, x.features[:, 0], p), "top_p_select"),
        (lambda: mesm_ops.top_p_mask(torch.zeros(2, 3), p), "top_p_mask"),
        (lambda: CrossModalAttention(3, 4, 5, p), "CrossModalAttention"),
        (lambda: SparseCrossModalBlock(3, 4, 5, 5, p), "CrossModalAttention"),
    ):
        with refused(f"{name}: p must be in (0, 1], got "):
            call()


@pytest.mark.parametrize("size", [NAN, 2.5, "3", None, torch.tensor(3), True])
def test_a_height_that_is_no_integer(size: Any) -> None:
    x = maps()
    with refused(f"SparseFeatureMaps: height must be an integer, got {size!r}"):
        SparseFeatureMaps(x.features, x.sites, x.offsets, size, 5)


def test_maps_of_no_size_or_too_many_sites() -> None:
    x = maps()
    with refused("SparseFeatureMaps: height * width must be at most 2147483647, got 1099511627776"):
        SparseFeatureMaps(x.features, x.sites, x.offsets, 2**40, 5)
    for dense in (torch.zeros(2, 3, 0, 5), torch.zeros(2, 3, 4, 0)):
        with refused("SparseFeatureMaps: height and width must be at least 1, got "):
            SparseFeatureMaps.from_dense(dense)
    assert mesm_ops.top_p_mask(torch.zeros(2, 0), 0.5).shape == (2, 0)


@pytest.mark.parametrize("wrong", [None, "x", [1.0], 3])
def test_no_tensors(wrong: Any) -> None:
    x, name = maps(), type(wrong).__name__
    for call, message in (
        (lambda: SparseFeatureMaps(wrong, x.sites, x.offsets, 4, 5), "features must be a tensor"),
        (lambda: SparseFeatureMaps(x.features, wrong, x.offsets, 4, 5), "sites must be a tensor"),
        (lambda: SparseFeatureMaps.from_dense(wrong), "maps must be a tensor"),
        (lambda: x.with_features(wrong), "features must be a tensor"),
        (lambda: SparseCrossModalBlock(3, 5, 6, 4)(wrong, SHARED), "maps must be a tensor"),
    ):
        with refused(f"SparseFeatureMaps: {message}, got {name}"):
            call()
    with refused(f"top_p_mask: logits must be a tensor, got {name}"):
        mesm_ops.top_p_mask(wrong, 0.5)
    with refused(f"SparseBatchNorm: x must be SparseFeatureMaps, got {name}"):
        SparseBatchNorm(3)(wrong)


def test_features_of_another_kind() -> None:
    x = maps()
    wanted = "must be one of torch.float32, torch.bfloat16, torch.float16, torch.float64, got torch"
    for features in (x.features.long(), x.features.to(torch.float8_e4m3fn)):
        with refused(f"SparseFeatureMaps: features {wanted}"):
            x.with_features(features)
        with refused(f"SparseFeatureMaps: features {wanted}"):
            SparseFeatureMaps(features, x.sites, x.offsets, 4, 5)
    with refused("SparseFeatureMaps: features must be on cpu as sites, got meta"):
        x.with_features(x.features.to("meta"))


def stage(channels: int = 3) -> tuple[Tensor, NormParameters]:
    one = torch.ones(5)
    parameters = NormParameters(0 * one, one, one, one, training=False, momentum=0.1, eps=1e-5)
    return torch.ones(5, channels, 3, 3), parameters


@pytest.mark.parametrize("few", ["attention", "stages", "no stages", "a norm"])
def test_too_few_parameters(few: str) -> None:
    attention: Any = CrossModalAttention(3, 6, 4).parameter_tuple()
    stages: Any = (stage(), stage(5))
    message = "stages must be two pairs of a weight and NormParameters, got "
    if few == "attention":
        attention, message = (
            tuple(attention)[:4],
            "attention must be AttentionParameters(map_weight",
        )
    elif few == "stages":
        stages, message = stages[:1], f"{message}tuple of 1"
    elif few == "no stages":
        stages, message = None, f"{message}NoneType"
    else:
        stages, message = (
            ((stages[0][0], SHARED), stages[1]),
            "a stage's norm must be NormParameters",
        )
    with refused(f"sparse_cross_modal_block: {message}"):
        mesm_ops.sparse_cross_modal_block(maps(), torch.ones(2, 6), None, attention, stages, 0.5)


@pytest.mark.parametrize("size", [-1, 0, None, 2.5, "3", True])
def test_sizes_of_layers(size: Any) -> None:
    for layer, arguments, name in (
        (CrossModalAttention, (size, 6, 4), "in_channels"),
        (CrossModalAttention, (3, size, 4), "query_dim"),
        (CrossModalAttention, (3, 6, size), "attention_dim"),
        (SubmConv2d, (size, 5), "in_channels"),
        (SubmConv2d, (3, size), "out_channels"),
        (SparseBatchNorm, (size,), "num_features"),
        (SparseCrossModalBlock, (size, 5, 6, 4), "in_channels"),
        (SparseCrossModalBlock, (3, size, 6, 4), "out_channels"),
    ):
        said = f"{layer.__name__}: {name} must be an integer of at least 1, got {size!r}"
        with refused(said):
            layer(*arguments)  # type: ignore[operator]


@pytest.mark.parametrize("at", ["sites", "offsets"])
def test_maps_that_were_changed_in_place(backend: str, at: str) -> None:
    x = maps()
    getattr(x, at)[0] = -1
    block = SparseCrossModalBlock(3, 5, 6, 4)
    for call in (
        lambda: mesm_ops.subm_conv2d(x, torch.ones(5, 3, 3, 3)),
        lambda: mesm_ops.sparse_max_pool2d(x),
        lambda: block(x, torch.ones(2, 6)),
        lambda: block.eval()(x, torch.ones(2, 6)),
        x.to_dense,
        x.mask,
    ):
        with pytest.raises((ValueError, RuntimeError), match=rf"^\w+: {at} ") as no:
            call()
        assert "csrc" not in str(no.value)


def test_the_reference_checks_gradients_too() -> None:
    x = maps()
    weight = torch.ones(5, 3, 3, 3, requires_grad=True)
    with mesm_ops.use_backend("reference"):
        out = mesm_ops.subm_conv2d(x, weight).features
        x.sites.data[0] = -1  # unseen by autograd
        with pytest.raises(ValueError, match="subm_conv2d: sites must lie in"):
            out.sum().backward()


@pytest.mark.parametrize("command", [["-m", "mesm_ops"], ["-c", "import mesm_ops"]])
def test_an_unknown_instruction_set_is_refused_when_loaded(
    monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("MESM_OPS_CPU", "sse")
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    says = 'MESM_OPS_CPU must be portable, avx2, avx512 or avx512bf16, or unset, got "sse"'
    assert done.returncode == 1
    if command[0] == "-m":
        assert done.stderr.strip() == f"mesm_ops: {says}"
    else:
        assert done.stderr.strip().splitlines()[-1] == f"ValueError: {says}"


def test_random_calls_are_right_or_refused() -> None:
    wrong = [said for said in random_calls.tries(20, 300) if said[0] not in ("right", "refused")]
    assert wrong == []


def test_a_wrong_result_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    conv = mesm_ops.subm_conv2d
    monkeypatch.setattr(
        mesm_ops, "subm_conv2d", lambda x, *given: x.with_features(conv(x, *given).features + 1)
    )
    assert random_calls.run(20, 100)["wrong"] > 0
