from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mesm_ops import reference
from mesm_ops.ops.contract import Contract
from mesm_ops.reference import Selection


def test_flat_arguments_become_the_object_of_the_reference() -> None:
    contract = Contract(reference.top_p_select)
    assert contract.fields == ("features", "sites", "offsets", "logits", "p", "selection", "trim")
    a = contract.arguments(1, 2, 3, 4, 0.5, 0, False)
    assert type(a) is reference.TopPSelect
    assert a.selection is Selection.HARD
    assert contract.arguments(*a._replace(selection=Selection.WEIGHTED)).selection.learns
    with pytest.raises(ValueError, match="7 is not a valid Selection"):
        contract.arguments(1, 2, 3, 4, 0.5, 7, False)


def test_results_are_one_tensor_or_named() -> None:
    tensor = torch.ones(1)
    assert Contract(reference.subm_conv2d).results(tensor) is tensor
    assert Contract(reference.subm_conv2d).returned == ()
    pooled = Contract(reference.sparse_max_pool2d).results([1, 2, 3, 4])
    assert pooled == reference.SparseMaxPool2dResult(1, 2, 3, 4)  # type: ignore[arg-type]


def test_a_compiled_kernel_of_the_same_arguments_gets_them_as_they_are() -> None:
    seen: list[Any] = []
    a = reference.SparseMaxPool2dBackward(torch.ones(1), torch.ones(1), 3)
    Contract(reference.sparse_max_pool2d_backward).compiled(lambda *flat: seen.append(flat))(a)
    assert seen == [tuple(a)]


@pytest.mark.parametrize("selection", Selection)
def test_compiled_kernels_get_the_selection_s_properties_and_no_state(selection: Selection) -> None:
    seen: list[Any] = []
    fields = dict.fromkeys(reference.SparseCrossModalBlockBackward._fields)
    a = reference.SparseCrossModalBlockBackward(**fields)  # type: ignore[arg-type]
    a = a._replace(selection=selection, rulebook=torch.ones(1), needs_weight2=True)
    contract = Contract(reference.sparse_cross_modal_block_backward)
    contract.compiled(lambda *flat: seen.append(flat))(a)
    (flat,) = seen
    assert len(flat) == len(a)  # one more for the selection, one fewer for the state
    place = a._fields.index("selection")
    assert flat[place : place + 2] == (selection.scales, selection.learns)
    assert flat[-1] is True


def test_what_a_compiled_kernel_does_not_return_is_empty() -> None:
    made = tuple(torch.full((1,), i) for i in range(13))
    fields = dict.fromkeys(reference.SparseCrossModalBlock._fields, torch.ones(1))
    a = reference.SparseCrossModalBlock(**fields)  # type: ignore[arg-type]
    a = a._replace(selection=Selection.HARD)

    def kernel(*flat: Any) -> tuple[Tensor, ...]:
        return made

    contract = Contract(reference.sparse_cross_modal_block)
    out = contract.results(contract.compiled(kernel)(a))
    assert out[:13] == made
    assert out.rulebook.shape == (0,)
    assert out.rulebook.dtype == torch.int32
