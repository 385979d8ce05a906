"""The one data structure: feature maps of which only some sites are active."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data._utils.collate import default_collate_fn_map

from .all_sites import all_sites
from .maps_checks import (
    DTYPES,
    MOST_ROWS,
    check_dtype,
    check_offsets,
    check_size,
    check_tensor,
    check_values,
    values_can_be_read,
)
from .tensor_like import TensorLike, holds_values, trims

__all__ = ["DTYPES", "SparseFeatureMaps", "check_offsets", "check_values", "count_ends"]

_NAME = "SparseFeatureMaps"


@dataclass(frozen=True, eq=False, repr=False)
class SparseFeatureMaps(TensorLike):
    """Feature maps of F frames, stored at their active sites only.

    Row i of `features` belongs to the frame f with `offsets[f] <= i < offsets[f + 1]` and lies at
    site `sites[i] = y * width + x` of that frame. Rows `offsets[-1]` and beyond, if any, are
    padding: every op ignores padding on reading and zeros it on writing, so that sizes can follow
    from shapes alone. The class is a pytree, which `torch.compile` and `torch.export` take and
    return. `==` and `hash` are those of the object, not of its values, which `difference` compares.

    Attributes:
        features: (N, C); float16, bfloat16, float32 or float64.
        sites: (N,) int32, ascending inside a frame.
        offsets: (F + 1,) int32, from 0, never falling, at most N.
        height: Height of the maps.
        width: Width of the maps.

    Raises:
        ValueError: An argument is of another kind, or a shape, dtype or device does not fit. On a
            CPU, outside a compiled graph, the values of `sites` and `offsets` are checked too.
    """

    features: Tensor  # (N, C)
    sites: Tensor  # (N,)
    offsets: Tensor  # (F + 1,)
    height: int
    width: int

    def __post_init__(self) -> None:
        _check_shapes(self)
        self._check()

    @classmethod
    def from_dense(cls, maps: Tensor, mask: Tensor | None = None) -> SparseFeatureMaps:
        """Take dense maps at the sites a mask names. Differentiable in `maps`.

        Args:
            maps: (F, C, H, W); without a copy if they lie in channels-last order and `mask` is
                None.
            mask: (F, H, W) bool, the active sites; None: all of them.

        Returns:
            The maps with C channels. On a CPU without padding rows; on a GPU and in compiled graphs
            with F * H * W rows, so that nothing waits for the device.

        Raises:
            ValueError: An argument is no tensor, or a shape, dtype or device does not fit.
        """
        every = cls._of_all_sites(maps, all_sites)
        if mask is None:
            return every
        features, (frames, _, height, width) = every.features, maps.shape
        rows, size, device = features.shape[0], height * width, maps.device
        check_tensor("mask", mask)
        if mask.shape != (frames, height, width) or mask.dtype != torch.bool:
            raise ValueError(
                f"{_NAME}: mask must be {(frames, height, width)} torch.bool for maps "
                f"{tuple(maps.shape)}, got {tuple(mask.shape)} {mask.dtype}"
            )
        if mask.device != maps.device:
            raise ValueError(f"{_NAME}: mask must be on {maps.device}, got {mask.device}")
        sites = every.sites
        keep = mask.reshape(rows)
        kept_before = torch.cat([sites.new_zeros(1), keep.cumsum(0, dtype=torch.int32)])
        offsets = kept_before[torch.arange(frames + 1, device=device) * size]
        # Stream compaction: a kept row scatters its number to its output row, others to a spare.
        compacted = torch.where(keep, kept_before[:-1], rows).long()
        source = torch.full((rows + 1,), -1, dtype=torch.int64, device=device)
        source = source.scatter(0, compacted, torch.arange(rows, device=device))
        source = source[: int(offsets[-1]) if trims(maps) else rows]
        real, row = source >= 0, source.clamp(min=0)
        features = torch.where(real[:, None], features[row], 0)
        return cls._trusted(features, torch.where(real, sites[row], 0), offsets, height, width)

    def to_dense(self) -> Tensor:
        """Return the maps as (F, C, H, W), zero where inactive. Differentiable in `features`.

        Raises:
            ValueError: On a CPU, sites or offsets were changed to values that no maps have.
        """
        dense = self.features.new_zeros(self.frames * self.height * self.width + 1, self.channels)
        dense = dense.index_copy(0, self._site_indices(), self.features)[:-1]
        dense = dense.view(self.frames, self.height, self.width, self.channels)
        return dense.permute(0, 3, 1, 2)

    def mask(self) -> Tensor:
        """Return the active sites as (F, H, W) bool.

        Raises:
            ValueError: On a CPU, sites or offsets were changed to values that no maps have.
        """
        flat = torch.zeros(
            self.frames * self.height * self.width + 1, dtype=torch.bool, device=self.device
        )
        flat = flat.index_fill(0, self._site_indices(), True)[:-1]
        return flat.view(self.frames, self.height, self.width)

    def frame_of_row(self) -> Tensor:
        """Return the frame of each row, (N,) int64; F for padding rows."""
        if torch.compiler.is_exporting():
            return count_ends(self.offsets[1:], self.sites.shape[0])
        rows = torch.arange(self.sites.shape[0], device=self.device, dtype=torch.int32)
        return torch.bucketize(rows, self.offsets[1:], right=True)

    def with_features(self, features: Tensor) -> SparseFeatureMaps:
        """Return the same sites with other features.

        Args:
            features: (N, any number of channels); float16, bfloat16, float32 or float64.

        Raises:
            ValueError: The number of rows, the dtype or the device does not fit the sites.
        """
        check_tensor("features", features)
        if features.dim() != 2 or features.shape[0] != self.sites.shape[0]:
            raise ValueError(
                f"{_NAME}: features must be ({self.sites.shape[0]}, C), got {tuple(features.shape)}"
            )
        check_dtype("features", features)
        if features.device != self.sites.device:
            raise ValueError(
                f"{_NAME}: features must be on {self.sites.device} as sites, got {features.device}"
            )
        return self._trusted(features, self.sites, self.offsets, self.height, self.width)

    def _check(self) -> None:
        """Check sites and offsets again, which may have been changed in place.

        Raises:
            ValueError: On a CPU, outside a compiled graph, sites or offsets are those of no maps.
        """
        if values_can_be_read(self.sites):
            check_values(_NAME, self.sites, self.offsets, self.height, self.width)

    def _site_indices(self) -> Tensor:
        """Return each row's index into (F * H * W + 1,) sites; padding rows share the last one."""
        self._check()  # else rows would go to places of other frames
        frame = self.frame_of_row()
        size = self.height * self.width
        return torch.where(frame < self.frames, frame * size + self.sites, self.frames * size)

    @classmethod
    def _trusted(
        cls, features: Tensor, sites: Tensor, offsets: Tensor, height: int, width: int
    ) -> SparseFeatureMaps:
        """Build maps without checks, from an op's results or from any leaves of a pytree."""
        maps = object.__new__(cls)
        object.__setattr__(maps, "features", features)
        object.__setattr__(maps, "sites", sites)
        object.__setattr__(maps, "offsets", offsets)
        object.__setattr__(maps, "height", height)
        object.__setattr__(maps, "width", width)
        return maps

    @classmethod
    def _of_all_sites(
        cls, maps: Tensor, make: Callable[[int, int, torch.device], tuple[Tensor, Tensor]]
    ) -> SparseFeatureMaps:
        """Return dense maps at all sites, which `make` makes as `all_sites` does."""
        check_tensor("maps", maps)
        if maps.dim() != 4:
            raise ValueError(f"{_NAME}: maps must be (F, C, H, W), got {tuple(maps.shape)}")
        check_dtype("maps", maps)
        frames, channels, height, width = maps.shape
        rows = frames * height * width
        if not torch.compiler.is_compiling():
            check_size(height, width)
            if rows > MOST_ROWS:
                raise ValueError(f"{_NAME}: at most {MOST_ROWS} sites fit, got {rows}")
        features = maps.permute(0, 2, 3, 1).reshape(rows, channels)
        sites, offsets = make(frames, height * width, maps.device)
        return cls._trusted(features, sites, offsets, height, width)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a call that checks what it is given."""
        return _rebuild, (self.features, self.sites, self.offsets, self.height, self.width)


def _rebuild(
    features: Tensor, sites: Tensor, offsets: Tensor, height: int, width: int
) -> SparseFeatureMaps:
    """Make maps of what a pickle holds, which may come from anywhere: checked on a GPU too."""
    maps = SparseFeatureMaps(features, sites, offsets, height, width)
    if holds_values(sites):
        check_values(_NAME, sites, offsets, height, width)
    return maps


def _check_shapes(maps: SparseFeatureMaps) -> None:
    features, sites, offsets = maps.features, maps.sites, maps.offsets
    for name, tensor in (("features", features), ("sites", sites), ("offsets", offsets)):
        check_tensor(name, tensor)
    if features.dim() != 2:
        raise ValueError(f"{_NAME}: features must be (N, C), got {tuple(features.shape)}")
    check_dtype("features", features)
    if sites.dim() != 1 or sites.shape[0] != features.shape[0]:
        raise ValueError(
            f"{_NAME}: sites must be ({features.shape[0]},) for {features.shape[0]} rows of "
            f"features, got {tuple(sites.shape)}"
        )
    if offsets.dim() != 1 or offsets.shape[0] < 1:
        raise ValueError(f"{_NAME}: offsets must be (F + 1,), got {tuple(offsets.shape)}")
    for name, tensor in (("sites", sites), ("offsets", offsets)):
        if tensor.dtype != torch.int32:
            raise ValueError(f"{_NAME}: {name} must be torch.int32, got {tensor.dtype}")
        if tensor.device != features.device:
            raise ValueError(
                f"{_NAME}: {name} must be on {features.device} as features, got {tensor.device}"
            )
    for name in ("height", "width"):
        given = getattr(maps, name)
        if type(given) is int or isinstance(given, torch.SymInt):
            continue
        if isinstance(given, bool) or not isinstance(given, numbers.Integral):
            raise ValueError(f"{_NAME}: {name} must be an integer, got {given!r}")
        object.__setattr__(maps, name, int(given))
    check_size(maps.height, maps.width)


def count_ends(ends: Tensor, size: int) -> Tensor:
    """Return for each number below `size` how many ends are not above it, (size,) int64.

    The same as `torch.bucketize`, which torch decomposes for the one size of `ends` that was
    traced, and which gives wrong numbers for larger ones.

    Args:
        ends: Integers from 0 to `size`.
        size: How many numbers.
    """
    ends = ends.to(torch.int64)
    marks = ends.new_zeros(size + 1).scatter_add(0, ends, torch.ones_like(ends))
    return marks.cumsum(0)[:size]


def _flatten(maps: SparseFeatureMaps) -> tuple[list[Any], tuple[int, int]]:
    return [maps.features, maps.sites, maps.offsets], (maps.height, maps.width)


def _flatten_with_keys(maps: SparseFeatureMaps) -> tuple[list[Any], tuple[int, int]]:
    children, size = _flatten(maps)
    names = ("features", "sites", "offsets")
    return [(pytree.GetAttrKey(n), c) for n, c in zip(names, children, strict=True)], size


def _unflatten(children: Iterable[Any], size: tuple[int, int]) -> SparseFeatureMaps:
    features, sites, offsets = children  # any objects: tree_map may return anything
    return SparseFeatureMaps._trusted(features, sites, offsets, *size)


pytree.register_pytree_node(
    SparseFeatureMaps,
    _flatten,
    _unflatten,
    serialized_type_name="mesm_ops.SparseFeatureMaps",
    flatten_with_keys_fn=_flatten_with_keys,
    to_dumpable_context=list,
    from_dumpable_context=tuple,
)
# Lets torch.load and torch.export.load read maps with weights_only: the class itself is not safe,
# as unpickling could then set its fields unchecked.
torch.serialization.add_safe_globals([_rebuild])
default_collate_fn_map[SparseFeatureMaps] = lambda batch, **_: SparseFeatureMaps.cat(batch)
