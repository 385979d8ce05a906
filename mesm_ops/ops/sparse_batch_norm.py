"""sparse_batch_norm: batch normalisation over active sites, with its ReLU."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import reference
from ..eager import is_eager
from ..reference import (
    SparseBatchNorm,
    SparseBatchNormBackward,
    SparseBatchNormGradients,
    SparseBatchNormResult,
)
from ..sparse_feature_maps import SparseFeatureMaps
from .autograd import LATER, make_differentiable
from .checks import check_flag, check_maps, check_number, check_tensor
from .registration import define_op
from .running_statistics import update_statistics

__all__ = [
    "arguments_of_norm",
    "check_norm",
    "norm_backward_op",
    "norm_op",
    "sparse_batch_norm",
]

_NAME = "sparse_batch_norm"


def arguments_of_norm(
    x: SparseFeatureMaps,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
    relu: bool = False,
) -> SparseBatchNorm:
    """Return the op's arguments, given those of its public function, or refuse them.

    Raises:
        ValueError: As `sparse_batch_norm`.
    """
    check_maps(_NAME, x)
    parameters = (running_mean, running_var, weight, bias)
    eps = check_norm(x, x.channels, parameters, training, momentum, eps)
    check_flag(_NAME, "relu", relu)
    return SparseBatchNorm(
        x.features, x.offsets, weight, bias, running_mean, running_var, training, eps, relu
    )


def check_norm(
    x: SparseFeatureMaps,
    channels: int,
    parameters: tuple[Tensor, ...],
    training: bool,
    momentum: float | Tensor,
    eps: float,
) -> float:
    """Refuse parameters and settings that do not fit features of so many channels; return eps.

    Args:
        x: Maps of the features' dtype and device; parameters have this dtype or float32.
        channels: The features' channels.
        parameters: running_mean, running_var, weight and bias, each (channels,).
        training: A bool.
        momentum: A number from 0 to 1, or a tensor of one or of one for each channel,
            whose values are not read.
        eps: A finite number, at least 0.

    Raises:
        ValueError: A shape, dtype or device does not fit, or a setting is none; says what was
            wanted and what came.
    """
    dtype, device = x.dtype, x.device
    wide = torch.float64 if dtype is torch.float64 else torch.float32
    names = ("running_mean", "running_var", "weight", "bias")
    for name, tensor in zip(names, parameters, strict=True):
        check_tensor(_NAME, name, tensor, (channels,), device, "for {0} channels")
        if tensor.dtype not in (dtype, wide):
            wanted = wide if wide == dtype else f"{dtype} or {wide}"
            raise ValueError(
                f"{_NAME}: {name} must be {wanted} for {dtype} features, got {tensor.dtype}"
            )
    if _are_one(parameters[0], parameters[1], training):
        raise ValueError(
            f"{_NAME}: running_mean and running_var must be two tensors, got one twice"
        )
    check_flag(_NAME, "training", training)
    if type(momentum) is float and 0 <= momentum <= 1:
        pass  # the usual case
    elif isinstance(momentum, Tensor):
        if momentum.numel() not in (1, channels) or momentum.dtype.is_complex:
            raise ValueError(
                f"{_NAME}: momentum must be one number, or one for each of {channels} channels, "
                f"got {momentum.dtype} of shape {tuple(momentum.shape)}"
            )
    else:
        check_number(_NAME, "momentum", momentum, 1, " or a tensor")
    return check_number(_NAME, "eps", eps)


def _are_one(mean: Tensor, var: Tensor, training: bool) -> bool:
    if mean is var:
        return True
    return training and is_eager() and mean.data_ptr() == var.data_ptr() != 0


def _fake(a: SparseBatchNorm) -> SparseBatchNormResult:
    wide = torch.promote_types(a.features.dtype, torch.float32)
    return SparseBatchNormResult(
        features=a.features.new_empty(a.features.shape),
        mean=a.weight.new_empty(a.weight.shape, dtype=wide),
        var=a.weight.new_empty(a.weight.shape, dtype=wide),
    )


def _fake_backward(a: SparseBatchNormBackward) -> SparseBatchNormGradients:
    return SparseBatchNormGradients(
        features=a.features.new_empty(a.features.shape),
        weight=a.weight.new_empty(a.weight.shape),
        bias=a.bias.new_empty(a.bias.shape),
    )


def _saved(a: SparseBatchNorm, out: SparseBatchNormResult) -> SparseBatchNormBackward:
    return SparseBatchNormBackward(
        grad_out=LATER,
        features=a.features,
        offsets=a.offsets,
        weight=a.weight,
        bias=a.bias,
        mean=out.mean,
        var=out.var,
        training=a.training,
        eps=a.eps,
        relu=a.relu,
    )


norm_op = define_op(
    reference.sparse_batch_norm, fake=_fake, arguments=arguments_of_norm, triton=True
)
norm_backward_op = define_op(reference.sparse_batch_norm_backward, fake=_fake_backward, triton=True)
make_differentiable(norm_op, norm_backward_op, saved=_saved)


def sparse_batch_norm(
    x: SparseFeatureMaps,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
    relu: bool = False,
) -> SparseFeatureMaps:
    """Normalise each channel over the active sites (Ioffe and Szegedy, 2015), then maybe ReLU.

    y = (x - mean) / sqrt(var + eps) * weight + bias; then max(y, 0) if relu

    In training, mean and biased variance are those of the batch's active sites, and the running
    statistics move by `momentum` towards the batch's mean and unbiased variance, as in
    `torch.nn.functional.batch_norm`. A batch without active sites moves no running statistics.

    Args:
        x: features (N, C); float32, bfloat16, float16 or float64.
        running_mean: (C,), float32 or x's dtype; changed in place in training.
        running_var: (C,), likewise.
        weight: (C,), float32 or x's dtype.
        bias: (C,), likewise.
        training: Normalise by the batch's statistics instead of the running ones.
        momentum: The share of the batch in the running statistics, from 0 to 1; the host does not
            wait for a tensor (of one number, or one for each channel), whose values are not
            checked.
        eps: Added to the variance; at least 0.
        relu: Apply a ReLU to the normalised features, in the same pass.

    Returns:
        The sites of x with features (N, C), in x's dtype.

    Raises:
        ValueError: A shape, dtype or device does not fit, or a setting is none; says what was
            wanted and what came. On a CPU a negative running_var is refused, by the C++ kernels
            with a RuntimeError; a GPU is not waited for.
    """
    out = norm_op(
        arguments_of_norm(x, running_mean, running_var, weight, bias, training, momentum, eps, relu)
    )
    if training:
        update_statistics(running_mean, running_var, out.mean, out.var, x.offsets[-1], momentum)
    return x.with_features(out.features)
