"""Frames of sparse feature maps taken, joined, and told apart; on tensors alone."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = [
    "Rows",
    "difference_of",
    "frames_between",
    "indices_of",
    "join",
    "no_such_frame",
    "pieces_of",
    "rows_between",
    "take",
]

# Without uint8, which torch takes for a mask and NumPy for numbers.
_INDICES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.bool)


class Rows(NamedTuple):
    """The rows of some frames, as `SparseFeatureMaps` holds them."""

    features: Tensor  # (N, C)
    sites: Tensor  # (N,)
    offsets: Tensor  # (F + 1,)


def rows_between(rows: Rows, first: int, end: int) -> Rows:
    """Return frames that follow each other, as views; waits for the device."""
    ends = rows.offsets[first : end + 1]
    start, stop = int(ends[0]), int(ends[-1])
    return Rows(rows.features[start:stop], rows.sites[start:stop], ends - start)


def take(rows: Rows, frames: Tensor, most: int | None) -> Rows:
    """Return chosen frames in the given order, each as often as it is named.

    Args:
        rows: F frames.
        frames: (M,) int64, each from 0 to F - 1.
        most: The rows of the result; rows that no frame fills are padding. None: as many as the
            frames have, for which the host waits.
    """
    starts = rows.offsets[:-1][frames]
    counts = rows.offsets[1:][frames] - starts
    return _compact(rows.features, rows.sites, starts, counts, most)


def join(parts: Sequence[Rows], trims: bool) -> Rows:
    """Return all frames of several maps.

    Args:
        parts: At least one; all of as many channels, one dtype, and one device.
        trims: Leave padding out, for which the host waits; else it goes to the end.
    """
    if trims:
        parts = [rows_between(part, 0, part.offsets.shape[0] - 1) for part in parts]
    features = torch.cat([part.features for part in parts])
    sites = torch.cat([part.sites for part in parts])
    counts = torch.cat([part.offsets.diff() for part in parts])
    if trims:
        return Rows(features, sites, _from_zero(counts))
    # Each part's rows start where its tensors were put; its padding lies between them.
    sizes = [part.sites.shape[0] for part in parts]
    starts = [part.offsets[:-1] + sum(sizes[:at]) for at, part in enumerate(parts)]
    return _compact(features, sites, torch.cat(starts), counts, sites.shape[0])


def _compact(
    features: Tensor, sites: Tensor, starts: Tensor, counts: Tensor, most: int | None
) -> Rows:
    """Return frames (F,) of so many rows each, which start where `starts` says."""
    offsets = _from_zero(counts)
    made = int(offsets[-1]) if most is None else most
    row = torch.arange(made, dtype=torch.int32, device=offsets.device)
    frame = torch.bucketize(row, offsets[1:], right=True)
    shift = torch.cat([starts - offsets[:-1], starts.new_zeros(1)])[frame]  # the last: padding
    if most is None:
        return Rows(features[row + shift], sites[row + shift], offsets)
    if sites.shape[0] == 0:  # padding must read some row
        features, sites = features.new_zeros(1, features.shape[1]), sites.new_zeros(1)
    real = row < offsets[-1]
    source = torch.where(real, row + shift, 0)
    kept = torch.where(real[:, None], features[source], 0)
    return Rows(kept, torch.where(real, sites[source], 0), offsets)


def _from_zero(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0, dtype=torch.int32)])


def indices_of(index: Any, frames: int, device: torch.device) -> Tensor:
    """Return the frames, (M,) int64, that an index names.

    Args:
        index: A slice; a list, a range, a NumPy array or a tensor of integers, (M,) or (), or of
            bools, (F,). No tuple, which torch and NumPy take for an index of each dimension.
        frames: F.
        device: Where the result is wanted.

    Raises:
        ValueError: The index is of another kind or shape; says what was wanted and what came.
        IndexError: On a CPU, a number is no frame's; a GPU stops with an assertion.
    """
    if isinstance(index, slice):
        return torch.arange(frames, device=device)[_positive(index, frames)]
    if hasattr(index, "tolist") and not isinstance(index, Tensor):
        index = index.tolist()
    if isinstance(index, (list, range)):
        try:
            index = torch.as_tensor(index if index else torch.zeros(0, dtype=torch.int64))
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(_unknown(index)) from None
    if not isinstance(index, Tensor) or index.dim() > 1 or index.dtype not in _INDICES:
        raise ValueError(_unknown(index))
    if index.dtype is torch.bool:
        if index.shape != (frames,):
            raise ValueError(
                f"SparseFeatureMaps: a mask of frames must be ({frames},), got {tuple(index.shape)}"
            )
        return index.to(device).nonzero()[:, 0]
    index = index.reshape(-1)
    index = index.to(device, torch.int64)
    if index.is_cpu and not torch.compiler.is_compiling() and index.numel():
        least, most = map(int, index.aminmax())
        if least < -frames or most >= frames:
            raise no_such_frame(least if least < -frames else most, frames)
    return torch.where(index < 0, index + frames, index)


def no_such_frame(number: int, frames: int) -> IndexError:
    """Return what is raised where there are so many frames, and none of this number."""
    there = f"frames are numbered from 0 to {frames - 1}" if frames else "there are no frames"
    return IndexError(f"SparseFeatureMaps: {there}, got {number}")


def frames_between(index: slice, frames: int) -> range:
    """Return the frames that a slice names.

    Raises:
        ValueError: Its step is 0, or an end or the step no integer.
    """
    try:
        return range(frames)[index]
    except (TypeError, ValueError):
        raise ValueError(
            "SparseFeatureMaps: a slice has integers or nothing as ends, and as step an integer "
            f"other than 0, got {index.start}:{index.stop}:{index.step}"
        ) from None


def _positive(index: slice, frames: int) -> Any:
    """Return an index of the same elements for torch, which refuses negative steps."""
    chosen = frames_between(index, frames)
    if chosen.step > 0:
        return slice(chosen.start, max(chosen.stop, chosen.start), chosen.step)
    return list(chosen)


def _unknown(index: Any) -> str:
    said = type(index).__name__
    if isinstance(index, Tensor):
        said = f"{index.dtype} of shape {tuple(index.shape)}"
    if isinstance(index, tuple):
        said += ", which indexes several dimensions: take a list, or to_dense() first"
    return (
        "SparseFeatureMaps: frames are chosen by an integer, a slice, integers (M,) or a bool mask "
        f"(F,), got {said}"
    )


def pieces_of(frames: int | Sequence[int], every: int) -> list[slice]:
    """Return slices of so many frames, of `every` in all; see `SparseFeatureMaps.split`.

    Raises:
        ValueError: frames is no positive integer, nor integers of at least 0 that sum to `every`.
    """
    sizes: list[Any] = [None]
    if isinstance(frames, (list, tuple, range)):
        sizes = list(frames)
    elif _is_integer(frames) and int(frames) > 0:  # type: ignore[arg-type]
        size = int(frames)  # type: ignore[arg-type]
        sizes = [min(size, every - at) for at in range(0, every, size)]
    if not all(_is_integer(n) and n >= 0 for n in sizes) or sum(sizes) != every:
        raise ValueError(
            "SparseFeatureMaps: split takes an integer of at least 1, or integers of at least 0 "
            f"that sum to {every} frames, got {frames!r}"
        )
    ends = list(accumulate((int(n) for n in sizes), initial=0))
    return [slice(*pair) for pair in pairwise(ends)]


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def difference_of(got: Rows, wanted: Rows, width: int, rtol: float, atol: float) -> str | None:
    """Return where rows of equally many frames and channels differ first, in words."""
    a, b = (Rows(*(t.detach() for t in rows)) for rows in (got, wanted))
    counts, others = a.offsets.diff(), b.offsets.diff()
    frames = int((counts == others).int().cumprod(0).sum())  # up to the first of another number
    real = int(a.offsets[frames])
    sites, features = (t[:real] for t in (a.sites, a.features))
    unlike = sites != b.sites[:real]
    close = torch.isclose(features, b.features[:real], rtol, atol, equal_nan=True)
    wrong = unlike | ~close.all(1)
    if bool(wrong.any()):
        row = int(wrong.int().argmax())
        frame = int(torch.bucketize(row, a.offsets[1:], right=True))
        if bool(unlike[row]):
            found, missed = (_at(rows.sites[row], width) for rows in (a, b))
            return f"frame {frame}: got site {found}, wanted {missed}"
        channel = int((~close[row]).int().argmax())
        return (
            f"frame {frame}, site {_at(sites[row], width)}, channel {channel}: got "
            f"{float(features[row, channel])}, wanted {float(b.features[row, channel])}"
        )
    if frames < counts.shape[0]:
        return f"frame {frames}: got {int(counts[frames])} sites, wanted {int(others[frames])}"
    return None


def _at(site: Tensor, width: int) -> str:
    y, x = divmod(int(site), width)
    return f"(y {y}, x {x})"
