"""Batch norms: over active sites, and over the sites or elements of all processes."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_module_registration_hook
from torch.nn.utils import parametrize

from . import ops
from .eager import is_eager, is_transformed
from .layer import Layer
from .ops.checks import check_flag, check_maps, check_number, check_size
from .ops.running_statistics import update_statistics
from .ops.sparse_batch_norm import arguments_of_norm
from .ops.synchronised_norm import synchronised_norm
from .parts import tensor_of
from .sparse_feature_maps import SparseFeatureMaps

__all__ = ["SparseBatchNorm", "SparseSyncBatchNorm", "SyncBatchNorm", "synchronise_norms"]


class SparseBatchNorm(Layer, nn.BatchNorm1d):
    """Batch normalisation over active sites, with its ReLU; state as `torch.nn.BatchNorm1d`.

    `torch.nn.SyncBatchNorm.convert_sync_batchnorm` puts a `SparseSyncBatchNorm` in its place,
    wherever a module holds it. A norm that no module holds torch would make dense, so that it took
    no sparse maps; `synchronise_norms` does not.

    Args:
        num_features: Channels C.
        eps: Added to the variance.
        momentum: The share of a batch in the running statistics; None: their plain average.
        relu: Apply a ReLU to the normalised features, in the same pass.
        affine: Learn a weight and a bias for each channel.
        track_running_stats: Keep running statistics; without them every batch is normalised by its
            own, in evaluation too.

    Raises:
        ValueError: num_features is no positive integer, eps not finite or negative, momentum
            neither None nor a number from 0 to 1, or another argument no bool.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        relu: bool = False,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        name = type(self).__name__
        check_size(name, "num_features", num_features)
        check_number(name, "eps", eps)
        if momentum is not None:
            check_number(name, "momentum", momentum, 1, " or None")
        check_flag(name, "relu", relu)
        check_flag(name, "affine", affine)
        check_flag(name, "track_running_stats", track_running_stats)
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.relu = relu

    def parameter_tuple(self, x: SparseFeatureMaps, *, counts: bool = True) -> ops.NormParameters:
        """Return the arguments of `sparse_batch_norm` after x; in training, count the batch.

        Args:
            x: The norm's input.
            counts: Count the batch; False: the caller does, and momentum is not None.
        """
        check_maps(type(self).__name__, x)  # before the batch is counted
        return _parameters(self, x, counts)

    def forward(self, x: SparseFeatureMaps) -> SparseFeatureMaps:  # type: ignore[override]
        """Return the sites of x with normalised features."""
        return ops.sparse_batch_norm(x, *self.parameter_tuple(x), relu=self.relu)

    def extra_repr(self) -> str:
        """Return the settings."""
        settings = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"
        for name, usual in (("affine", True), ("track_running_stats", True)):
            if getattr(self, name) is not usual:
                settings += f", {name}={not usual}"
        return f"{settings}, relu={self.relu}"


def _parameters(norm: _BatchNorm, x: SparseFeatureMaps, counts: bool) -> ops.NormParameters:
    """Return a norm's arguments of `sparse_batch_norm` after x; count the batch if `counts`."""
    momentum: float | Tensor | None = norm.momentum
    mean, var = tensor_of(norm, "running_mean"), tensor_of(norm, "running_var")
    batches = tensor_of(norm, "num_batches_tracked")
    by_batch = norm.training or mean is None or var is None
    if by_batch and not (norm.training and norm.track_running_stats):
        mean = var = batches = None  # nothing is kept of the batch
    if batches is not None and norm.training and counts:
        rows = x.offsets[-1]
        if rows.is_cpu and is_eager():
            batches += int(rows) > 0
        else:
            batches.add_(rows > 0)
        if momentum is None:
            momentum = 1 / batches.clamp(min=1)

    def given(tensor: Tensor | None, value: int) -> Tensor:
        if tensor is not None:
            return tensor
        wide = torch.promote_types(x.dtype, torch.float32)
        return x.features.new_full((norm.num_features,), value, dtype=wide)

    return ops.NormParameters(
        given(mean, 0),
        given(var, 1),
        given(tensor_of(norm, "weight"), 1),
        given(tensor_of(norm, "bias"), 0),
        by_batch,
        0.0 if momentum is None else momentum,
        norm.eps,
    )


class _Synchronised(_BatchNorm):
    """Batch norms whose statistics in training are those of a group of processes."""

    process_group: Any

    @property
    def synchronises(self) -> bool:
        """Whether a call now takes the statistics of several processes."""
        return (
            self.training
            and dist.is_available()
            and dist.is_initialized()
            and dist.get_world_size(self.process_group) > 1
        )

    def _normalise(
        self, x: SparseFeatureMaps, parameters: ops.NormParameters, relu: bool
    ) -> Tensor:
        """Return normalised features, and let the batch move the running statistics."""
        name = type(self).__name__
        if is_transformed():
            raise RuntimeError(f"{name}: function transforms of torch.func are not supported")
        out = synchronised_norm(arguments_of_norm(x, *parameters, relu), self.process_group)
        mean, var, batches = self.running_mean, self.running_var, self.num_batches_tracked
        if mean is not None and var is not None and self.track_running_stats:
            with torch.no_grad():
                momentum: float | Tensor | None = self.momentum
                if batches is not None:
                    batches.add_(out.rows > 0)
                    if momentum is None:
                        momentum = 1 / batches.clamp(min=1)
                share = 0.0 if momentum is None else momentum
                update_statistics(mean, var, out.mean, out.var, out.rows, share)
        return out.features

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        made = object.__new__(type(self))
        memo |= {id(self): made, id(self.process_group): self.process_group}  # groups stay
        made.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return made


class SparseSyncBatchNorm(SparseBatchNorm, _Synchronised):
    """`SparseBatchNorm` over the active sites of all processes, weighted by their number.

    Forward and backward are those of one process that has all sites, on a CPU and on a GPU. In
    evaluation, and where there is one process, it is `SparseBatchNorm`. All processes must run the
    same norms in the same order, with or without sites, and all or none of them backward. Under
    torch.compile the norm runs between graphs.

    Args:
        num_features: Channels C.
        eps: Added to the variance.
        momentum: The share of a batch in the running statistics; None: their plain average.
        relu: Apply a ReLU to the normalised features.
        affine: Learn a weight and a bias for each channel.
        track_running_stats: Keep running statistics; without them evaluation takes the statistics
            of its own process.
        process_group: The processes; None: all.

    Raises:
        ValueError: As for `SparseBatchNorm`.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        relu: bool = False,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, relu, affine, track_running_stats)
        self.process_group = process_group

    def forward(self, x: SparseFeatureMaps) -> SparseFeatureMaps:  # type: ignore[override]
        """Return the sites of x with normalised features."""
        if not self.synchronises:
            return super().forward(x)
        parameters = self.parameter_tuple(x, counts=False)
        return x.with_features(self._normalise(x, parameters, self.relu))


class SyncBatchNorm(_Synchronised):
    """Batch norm of dense tensors over all processes, as `torch.nn.SyncBatchNorm`, on a CPU too.

    State, statistics and gradients are those of one process that has the whole batch. A process
    may have an empty batch. See `SparseSyncBatchNorm` for what processes must do alike.

    Args:
        num_features: Channels C.
        eps: Added to the variance.
        momentum: The share of a batch in the running statistics; None: their plain average.
        affine: Learn a weight and a bias for each channel.
        track_running_stats: Keep running statistics.
        process_group: The processes; None: all.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.process_group = process_group

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2 or input.shape[1] != self.num_features:
            raise ValueError(
                f"SyncBatchNorm: x must be (N, {self.num_features}, ...), got {tuple(input.shape)}"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return x (N, C, ...) normalised, in x's dtype; several dimensions channels-last."""
        if not self.synchronises:
            return super().forward(x)
        self._check_input_dim(x)
        rows = x.movedim(1, -1)
        features = rows.reshape(-1, self.num_features)
        offsets = torch.tensor([0, features.shape[0]], dtype=torch.int32, device=x.device)
        maps = SparseFeatureMaps._trusted(features, offsets[:0], offsets, 1, 1)  # no op reads sites
        features = self._normalise(maps, _parameters(self, maps, counts=False), relu=False)
        return features.view(rows.shape).movedim(-1, 1)


def synchronise_norms(module: nn.Module, process_group: Any = None) -> nn.Module:
    """Make every batch norm of a network take the statistics of all processes in training.

    Sparse norms become `SparseSyncBatchNorm`, dense ones `SyncBatchNorm`; parameters, buffers,
    hooks and names of the state stay.

    Args:
        module: The network, changed in place; itself a norm: left as it is.
        process_group: The processes; None: all.

    Returns:
        The network, or the synchronised norm.

    Raises:
        ValueError: A batch norm is of a kind that has ways of its own, or parametrised. Nothing
            is changed then.
    """
    for name, child in module.named_modules():
        if isinstance(child, _BatchNorm) and _synchronised_class(child) is None:
            raise ValueError(
                f"synchronise_norms: {name or 'the module'} is {type(child).__name__}; batch norms "
                "must be torch.nn.BatchNorm1d to 3d, torch.nn.SyncBatchNorm or those of mesm_ops, "
                "and not parametrised"
            )
    return _synchronise(module, process_group, {})


def _synchronise(
    module: nn.Module, process_group: Any, made: dict[nn.Module, nn.Module]
) -> nn.Module:
    """Return what stands for a module, the same wherever the module is held; `made` has it then."""
    if module in made:
        return made[module]
    made[module] = module
    if isinstance(module, _BatchNorm):
        kind = _synchronised_class(module)
        assert kind is not None
        made[module] = _as(kind, module, process_group=process_group)
    for name, child in [*module._modules.items()]:  # `named_children` leaves second names out
        if child is not None and _synchronise(child, process_group, made) is not child:
            setattr(module, name, made[child])
    return made[module]


_DENSE = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, SyncBatchNorm)


def _synchronised_class(norm: _BatchNorm) -> type[_Synchronised] | None:
    if parametrize.is_parametrized(norm):
        return None
    if type(norm) in (SparseBatchNorm, SparseSyncBatchNorm):
        return SparseSyncBatchNorm
    return SyncBatchNorm if type(norm) in _DENSE else None


def _as(kind: type[nn.Module], norm: nn.Module, **changes: Any) -> Any:
    """Return a norm of another kind with all that a norm has, and some changes."""
    made = object.__new__(kind)
    made.__dict__.update(norm.__dict__, **changes)
    return made


def _keep_sparse(parent: nn.Module, name: str, given: nn.Module | None) -> nn.Module | None:
    """Put a `SparseSyncBatchNorm` where torch's converter would put a dense norm for a sparse one.

    `torch.nn.SyncBatchNorm.convert_sync_batchnorm` replaces all that is a batch norm, which
    `SparseBatchNorm` must be for others (`torch.optim.swa_utils.update_bn`).
    """
    before = parent._modules.get(name) if type(given) is nn.SyncBatchNorm else None
    if not isinstance(before, SparseBatchNorm):
        return None
    assert given is not None
    kept = ("num_features", "eps", "momentum", "affine", "track_running_stats", "process_group")
    new = {attribute: getattr(given, attribute) for attribute in (*kept, "training")}
    state = {"_parameters": given._parameters, "_buffers": given._buffers}
    made: nn.Module = _as(SparseSyncBatchNorm, before, **new, **state)
    for other, held in parent._modules.items():
        if held is before and other != name:  # the converter passes a second name over
            parent._modules[other] = made
    return made


register_module_module_registration_hook(_keep_sparse)  # type: ignore[arg-type]
