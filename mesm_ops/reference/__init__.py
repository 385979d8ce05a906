"""Plain torch definitions, forward and backward; each file imports torch alone,
but for the block, which is made of the others.
"""

from .cross_modal_score import cross_modal_score, cross_modal_score_backward
from .sparse_batch_norm import sparse_batch_norm, sparse_batch_norm_backward
from .sparse_cross_modal_block import (
    sparse_cross_modal_block,
    sparse_cross_modal_block_backward,
)
from .sparse_max_pool2d import sparse_max_pool2d, sparse_max_pool2d_backward
from .subm_conv2d import subm_conv2d, subm_conv2d_backward
from .top_p_select import top_p_select, top_p_select_backward

__all__ = [
    "cross_modal_score",
    "cross_modal_score_backward",
    "sparse_batch_norm",
    "sparse_batch_norm_backward",
    "sparse_cross_modal_block",
    "sparse_cross_modal_block_backward",
    "sparse_max_pool2d",
    "sparse_max_pool2d_backward",
    "subm_conv2d",
    "subm_conv2d_backward",
    "top_p_select",
    "top_p_select_backward",
]
