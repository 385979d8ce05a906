"""Sparse cross-modal ops whose saved FLOPs are saved time. Needs torch alone."""

import sys

from . import extension
from .backends import use_backend
from .explain import explain
from .modules import (
    CrossModalAttention,
    SparseCrossModalBlock,
    SparseMaxPool2d,
    SubmConv2d,
)
from .norms import SparseBatchNorm, SparseSyncBatchNorm, SyncBatchNorm, synchronise_norms
from .ops import (
    AttentionParameters,
    NormParameters,
    cross_modal_score,
    sparse_batch_norm,
    sparse_cross_modal_block,
    sparse_max_pool2d,
    subm_conv2d,
    top_p_mask,
    top_p_select,
)
from .sparse_feature_maps import SparseFeatureMaps

try:
    extension.module()  # refuses MESM_OPS_CPU here, not in some kernel's thread
except ValueError as refused:
    if sys.argv[:1] != ["-m"]:
        raise
    # `python -m` imports the package before any of its code could say this in one line.
    raise SystemExit(f"mesm_ops: {refused}") from None

__all__ = [
    "AttentionParameters",
    "CrossModalAttention",
    "NormParameters",
    "SparseBatchNorm",
    "SparseCrossModalBlock",
    "SparseFeatureMaps",
    "SparseMaxPool2d",
    "SparseSyncBatchNorm",
    "SubmConv2d",
    "SyncBatchNorm",
    "cross_modal_score",
    "explain",
    "sparse_batch_norm",
    "sparse_cross_modal_block",
    "sparse_max_pool2d",
    "subm_conv2d",
    "synchronise_norms",
    "top_p_mask",
    "top_p_select",
    "use_backend",
]
