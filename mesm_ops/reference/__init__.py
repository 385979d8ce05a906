"""Plain torch definitions, forward and backward, and the arguments and results of every op.

An op's arguments are a `NamedTuple` in the op's file, from whose annotations the schema is made;
every function that implements, checks or counts the op takes that one object. Each file imports
torch alone, but for the block, which is composed of the others.
"""

from .cross_modal_score import (
    CrossModalScore,
    CrossModalScoreBackward,
    CrossModalScoreGradients,
    cross_modal_score,
    cross_modal_score_backward,
)
from .sparse_batch_norm import (
    SparseBatchNorm,
    SparseBatchNormBackward,
    SparseBatchNormGradients,
    SparseBatchNormResult,
    sparse_batch_norm,
    sparse_batch_norm_backward,
)
from .sparse_cross_modal_block import (
    SparseCrossModalBlock,
    SparseCrossModalBlockBackward,
    SparseCrossModalBlockGradients,
    SparseCrossModalBlockResult,
    TritonState,
    sparse_cross_modal_block,
    sparse_cross_modal_block_backward,
)
from .sparse_max_pool2d import (
    SparseMaxPool2d,
    SparseMaxPool2dBackward,
    SparseMaxPool2dResult,
    sparse_max_pool2d,
    sparse_max_pool2d_backward,
)
from .subm_conv2d import (
    SubmConv2d,
    SubmConv2dBackward,
    SubmConv2dGradients,
    subm_conv2d,
    subm_conv2d_backward,
)
from .top_p_select import (
    Selection,
    TopPSelect,
    TopPSelectBackward,
    TopPSelectGradients,
    TopPSelectResult,
    top_p_select,
    top_p_select_backward,
)

__all__ = [
    "CrossModalScore",
    "CrossModalScoreBackward",
    "CrossModalScoreGradients",
    "Selection",
    "SparseBatchNorm",
    "SparseBatchNormBackward",
    "SparseBatchNormGradients",
    "SparseBatchNormResult",
    "SparseCrossModalBlock",
    "SparseCrossModalBlockBackward",
    "SparseCrossModalBlockGradients",
    "SparseCrossModalBlockResult",
    "SparseMaxPool2d",
    "SparseMaxPool2dBackward",
    "SparseMaxPool2dResult",
    "SubmConv2d",
    "SubmConv2dBackward",
    "SubmConv2dGradients",
    "TopPSelect",
    "TopPSelectBackward",
    "TopPSelectGradients",
    "TopPSelectResult",
    "TritonState",
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
