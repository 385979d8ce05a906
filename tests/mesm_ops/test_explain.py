from __future__ import annotations

import pytest
import torch

import mesm_ops
from mesm_ops import SparseFeatureMaps, backends, explain, use_backend
from tests.mesm_ops.cases import make_case


def maps(dtype: torch.dtype = torch.float32) -> SparseFeatureMaps:
    return make_case(2, 3, 4, 4, dtype=dtype).x


def weight(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.ones(5, 3, 3, 3, dtype=dtype, requires_grad=True)


def test_explain_says_which_and_why() -> None:
    text = explain("subm_conv2d", maps(torch.float16), weight(torch.float16))
    assert text.splitlines() == [
        "subm_conv2d: reference runs",
        "  cuda: there is no cuda kernel for subm_conv2d",
        "  triton: it runs on cuda tensors, got one on cpu",
        "  cpp: it takes float32, bfloat16, float64, got float16",
        "  reference: can run",
    ]
    with use_backend("reference"):
        text = explain("subm_conv2d", maps(), weight())
        assert text.startswith("subm_conv2d: reference runs, asked for with use_backend\n")
    with use_backend("triton"):
        text = explain("sparse_max_pool2d", maps())
        assert text.startswith("sparse_max_pool2d: nothing runs: use_backend asks for triton\n")


@pytest.mark.parametrize("op", backends.ops())
def test_explain_knows_every_op(op: str) -> None:
    assert explain(op).splitlines()[-1] == "  reference: can run"


def test_explain_takes_what_public_functions_take() -> None:
    x, logits = maps(), torch.zeros(maps().features.shape[0])
    block = mesm_ops.SparseCrossModalBlock(3, 5, 2, 2)
    of_x = block.norm1.parameter_tuple(x)._replace(
        **{name: torch.ones(3) for name in ("running_mean", "running_var", "weight", "bias")}
    )
    query = torch.zeros(2, 2)
    attention = block.attention.parameter_tuple()
    stages = [
        (conv.weight, norm.parameter_tuple(x))
        for conv, norm in ((block.conv1, block.norm1), (block.conv2, block.norm2))
    ]
    for op, args in {
        "cross_modal_score": (x, query, None, *attention),
        "top_p_select": (x, logits, 0.5, "hard"),
        "sparse_batch_norm": (x, *of_x),
        "sparse_max_pool2d": (x,),
        "sparse_cross_modal_block": (x, query, None, attention, stages, 0.5),
    }.items():
        assert explain(op, *args).splitlines()[-1] == "  reference: can run"


def test_explain_takes_compositions_apart() -> None:
    assert explain("top_p_mask").startswith("top_p_mask is composed of:\ntop_p_select: ")


def test_explain_refuses() -> None:
    with pytest.raises(ValueError, match=r"explain: op must be one of .*subm_conv2d.*, got 'conv'"):
        explain("conv")
    with pytest.raises(ValueError, match=r"subm_conv2d: weight must be"):
        explain("subm_conv2d", maps(), torch.zeros(5, 4, 3, 3))


def test_explain_takes_the_function_too():
    assert mesm_ops.explain(mesm_ops.subm_conv2d) == mesm_ops.explain("subm_conv2d")


def test_explain_takes_what_the_schema_of_a_backward_op_takes() -> None:
    x = maps()
    grad = torch.zeros(x.features.shape[0], 5)
    place = (x.features, x.sites, x.offsets, x.height, x.width)
    needs = (True, True, False)
    text = explain("subm_conv2d_backward", grad, *place, weight(), *needs)
    assert text.splitlines()[1:3] == [
        "  cuda: there is no cuda kernel for subm_conv2d_backward",
        "  triton: it runs on cuda tensors, got one on cpu",
    ]
