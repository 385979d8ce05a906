"""Sparse feature maps as users of tensors expect them: moved, joined, indexed, compared, shown."""

from __future__ import annotations

import builtins
import numbers
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from .eager import is_transformed
from .frames import (
    Rows,
    difference_of,
    frames_between,
    indices_of,
    join,
    no_such_frame,
    pieces_of,
    rows_between,
    take,
)
from .maps_checks import check_dtype

__all__ = ["TensorLike", "holds_values", "trims"]

_NAME = "SparseFeatureMaps"
_NO_TENSOR = (
    "SparseFeatureMaps are no tensor; use the layers of mesm_ops, `to_dense()`, or "
    "`with_features(function(features))` for a function of rows"
)


class TensorLike:
    """The part of `SparseFeatureMaps` that has nothing to do with what the ops compute."""

    if TYPE_CHECKING:
        features: Tensor
        sites: Tensor
        offsets: Tensor
        height: int
        width: int

        def _check(self) -> None: ...
        @classmethod
        def _trusted(
            cls, features: Tensor, sites: Tensor, offsets: Tensor, height: int, width: int
        ) -> Self: ...

    @property
    def frames(self) -> int:
        """Number of frames F."""
        return self.offsets.shape[0] - 1

    @property
    def channels(self) -> int:
        """Number of channels C."""
        return self.features.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """The features' dtype."""
        return self.features.dtype

    @property
    def device(self) -> torch.device:
        """The device that holds all three tensors."""
        return self.features.device

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move to a device, and cast features to a dtype; arguments as of `torch.Tensor.to`.

        Returns:
            The same object where nothing changes.

        Raises:
            ValueError: The dtype is one that no op takes.
        """
        features = self.features.to(*args, **kwargs)
        check_dtype("features", features)
        # No other argument that may stand without its name is a bool.
        flags = [given for given in args if isinstance(given, bool)]
        rest: dict[str, Any] = dict(zip(("non_blocking", "copy"), flags, strict=False))
        rest |= {name: kwargs[name] for name in ("non_blocking", "copy") if name in kwargs}
        return self._moved(features, lambda t: t.to(features.device, **rest))

    def float(self) -> Self:
        """Cast features to float32."""
        return self.to(torch.float32)

    def double(self) -> Self:
        """Cast features to float64."""
        return self.to(torch.float64)

    def half(self) -> Self:
        """Cast features to float16."""
        return self.to(torch.float16)

    def bfloat16(self) -> Self:
        """Cast features to bfloat16."""
        return self.to(torch.bfloat16)

    def cpu(self) -> Self:
        """Move to the CPU."""
        return self.to("cpu")

    def cuda(
        self, device: torch.device | int | str | None = None, non_blocking: bool = False
    ) -> Self:
        """Move to a GPU, the current one if None is named."""
        features = self.features.cuda(device, non_blocking=non_blocking)
        return self._moved(features, lambda t: t.to(features.device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Copy to page-locked memory, from which a GPU reads while the CPU goes on."""
        return self._moved(self.features.pin_memory(), Tensor.pin_memory)

    def is_pinned(self) -> bool:
        """Return whether all three tensors lie in page-locked memory."""
        return all(t.is_pinned() for t in (self.features, self.sites, self.offsets))

    def _moved(self, features: Tensor, move: Callable[[Tensor], Tensor]) -> Self:
        sites, offsets = move(self.sites), move(self.offsets)
        if features is self.features and sites is self.sites and offsets is self.offsets:
            return self
        return self._trusted(features, sites, offsets, self.height, self.width)

    def __len__(self) -> int:
        """Return the number of frames."""
        return self.frames

    def __getitem__(self, index: int | slice | list[int] | range | Tensor) -> Self:
        """Return chosen frames. Differentiable in `features`.

        Args:
            index: An integer, also as a tensor () (the result has one frame), a slice, integers in
                any order and as often as wanted, or a mask (F,) bool.

        Returns:
            The frames in the given order. On a CPU without padding rows, and views of the same
            memory where the frames follow each other; on a GPU and in compiled graphs sized from
            shapes alone, at most H * W rows for each frame (a mask waits for the device).

        Raises:
            IndexError: There is no such frame; on a GPU the result of a tensor is undefined then.
            ValueError: The index is of another kind, or on a CPU sites or offsets were changed to
                values that no maps have.
        """
        return self._rows_of(index)

    def __iter__(self) -> Iterator[Self]:
        """Return each frame as maps of one frame."""
        return iter(self.split(1))

    def split(self, frames: int | Sequence[int]) -> tuple[Self, ...]:
        """Return pieces of so many frames, as `torch.split` does. Differentiable in `features`.

        Args:
            frames: The frames of every piece but the last, which may have fewer; or the frames of
                each piece, which sum to F.

        Raises:
            ValueError: frames is no positive integer, nor integers of at least 0 that sum to F.
        """
        return tuple(self._rows_of(piece) for piece in pieces_of(frames, self.frames))

    @classmethod
    def cat(cls, maps: Sequence[Self]) -> Self:
        """Return all frames of several maps in one, in order. Differentiable in their features.

        Args:
            maps: At least one; all of one size, one number of channels, one dtype and one device.

        Returns:
            The frames. On a CPU without padding rows; on a GPU and in compiled graphs with the
            rows of all, padding last.

        Raises:
            ValueError: There are none, or they do not fit each other.
        """
        maps = list(maps)
        for one in maps:
            if not isinstance(one, cls):
                raise ValueError(f"{_NAME}: cat takes SparseFeatureMaps, got {type(one).__name__}")
        if not maps:
            raise ValueError(f"{_NAME}: cat takes at least one, got none")
        first = maps[0]
        for name in ("height", "width", "channels", "dtype", "device"):
            wanted = getattr(first, name)
            for at, one in enumerate(maps):
                if getattr(one, name) != wanted:
                    raise ValueError(
                        f"{_NAME}: cat takes maps of one {name}, got {wanted} and, at place {at}, "
                        f"{getattr(one, name)}"
                    )
        for one in maps:
            one._check()
        joined = join([one._as_rows() for one in maps], trims(first.features))
        return cls._trusted(*joined, first.height, first.width)

    def _as_rows(self) -> Rows:
        return Rows(self.features, self.sites, self.offsets)

    def _rows_of(self, index: Any) -> Self:
        self._check()
        trimmed = trims(self.features)
        if isinstance(index, numbers.Integral) and not isinstance(index, bool):
            number = int(index)
            if not -self.frames <= number < self.frames:
                raise no_such_frame(number, self.frames)
            number %= self.frames
            index = slice(number, number + 1)
        if trimmed and isinstance(index, slice):
            chosen = frames_between(index, self.frames)
            if chosen.step == 1:
                rows = rows_between(self._as_rows(), chosen.start, max(chosen.stop, chosen.start))
                return self._trusted(*rows, self.height, self.width)
        frames = indices_of(index, self.frames, self.device)
        size = self.height * self.width
        rows = take(self._as_rows(), frames, None if trimmed else frames.shape[0] * size)
        return self._trusted(*rows, self.height, self.width)

    def difference(
        self, other: Self, rtol: builtins.float = 0.0, atol: builtins.float = 0.0
    ) -> str | None:
        """Return where two maps differ first, in words; None: they are equal.

        Padding rows do not count, nor does where a tensor lies in memory; NaN equals NaN. For
        tests: `assert x.difference(y) is None`. Waits for the device.

        Args:
            other: The maps to compare with.
            rtol: The share of `other`'s features by which features may differ.
            atol: Added to that.
        """
        if not isinstance(other, type(self)):
            return f"got {_NAME}, wanted {type(other).__name__}"
        for name in ("frames", "height", "width", "channels", "dtype", "device"):
            got, wanted = getattr(self, name), getattr(other, name)
            if got != wanted:
                return f"{name}: got {got}, wanted {wanted}"
        return difference_of(self._as_rows(), other._as_rows(), self.width, rtol, atol)

    def __repr__(self) -> str:
        every = self.frames * self.height * self.width
        sites = f"at most {self.sites.shape[0]} of {every}"
        if holds_values(self.offsets):
            active = int(self.offsets[-1])
            density = f", density {active / every:.2f}" if every else ""
            sites = f"{active} of {every}{density}"
        return (
            f"{_NAME}(frames={self.frames}, sites={sites}, channels={self.channels}, "
            f"height={self.height}, width={self.width}, dtype={self.dtype}, device={self.device})"
        )

    def __getattr__(self, name: str) -> Any:
        """Say for a tensor's attributes why there is none."""
        said = f"'{_NAME}' object has no attribute '{name}'"
        if not name.startswith("_") and hasattr(Tensor, name):
            said = f"{said}: {_no_tensor(name)}"
        raise AttributeError(said)

    def __array__(self, *_: Any, **__: Any) -> Any:
        """Refuse to become a NumPy array, which would be one of frames of frames without end."""
        raise TypeError(f"NumPy: {_NO_TENSOR}")

    @classmethod
    def __torch_function__(cls, function: Any, *_: Any, **__: Any) -> Any:
        """Refuse functions of dense tensors, such as those that a dense layer calls."""
        name = getattr(function, "__name__", str(function))
        raise TypeError(f"{name}: {_no_tensor(name)}")


def _no_tensor(asked: str) -> str:
    """Say that maps are no tensor, and what serves instead of what was asked for."""
    if asked in ("allclose", "equal", "isclose", "eq", "ne"):
        return f"{_NO_TENSOR}; `x.difference(y) is None` where maps are equal"
    return _NO_TENSOR


def trims(tensor: Tensor) -> bool:
    """Return whether maps are made without padding, so that their size depends on values."""
    return tensor.is_cpu and not torch.compiler.is_compiling() and not is_transformed()


def holds_values(tensor: Tensor) -> bool:
    """Return whether a tensor can be read, if need be by waiting: neither fake, nor wrapped."""
    return (
        type(tensor) is Tensor
        and tensor.device.type != "meta"
        and not torch.compiler.is_compiling()
        and not is_transformed()
    )
