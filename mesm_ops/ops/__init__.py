"""The ops: one file each with checks, fake, autograd, autocast, FLOP formula, public function.

Arguments, results and therefore the schema stand in `mesm_ops/reference/<op>.py`.
"""

from .cross_modal_score import cross_modal_score
from .parameters import AttentionParameters, NormParameters
from .sparse_batch_norm import sparse_batch_norm
from .sparse_cross_modal_block import sparse_cross_modal_block
from .sparse_max_pool2d import sparse_max_pool2d
from .subm_conv2d import subm_conv2d
from .top_p_select import top_p_mask, top_p_select

__all__ = [
    "AttentionParameters",
    "NormParameters",
    "cross_modal_score",
    "sparse_batch_norm",
    "sparse_cross_modal_block",
    "sparse_max_pool2d",
    "subm_conv2d",
    "top_p_mask",
    "top_p_select",
]
