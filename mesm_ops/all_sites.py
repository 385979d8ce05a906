"""Sites and offsets of frames whose sites are all active."""

from __future__ import annotations

import functools
from array import array
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .eager import is_eager

__all__ = ["all_sites", "shared_sites"]

_MOST_SHARED = 64  # a key beyond is not shared, since shared memory is never freed


def all_sites(frames: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return sites (F * size,) and offsets (F + 1,), int32, of frames of `size` active sites."""
    if device.type == "cpu" and frames * size > 0 and is_eager():
        # A few torch calls on small tensors would take longer than copying the bytes.
        offsets = array("i", range(0, frames * size + 1, size))
        return (
            torch.frombuffer(bytearray(_sites_of_frame(size) * frames), dtype=torch.int32),
            torch.frombuffer(offsets, dtype=torch.int32),
        )
    sites = torch.arange(size, dtype=torch.int32, device=device).repeat(frames)
    return sites, torch.arange(frames + 1, dtype=torch.int32, device=device) * size


@functools.lru_cache(maxsize=16)
def _sites_of_frame(size: int) -> bytes:
    return array("i", range(size)).tobytes()


@dataclass
class _Shared:
    """Sites and offsets of so many frames, on a GPU."""

    sites: Tensor
    offsets: Tensor
    frames: int
    stream: Any  # writes the tensors
    written: Any  # an event; None once it is known to have happened


_shared: dict[tuple[int, torch.device], _Shared] = {}
_outgrown: list[_Shared] = []  # CUDA graphs and other streams may still read these tensors


def shared_sites(frames: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """As `all_sites`; on a GPU views of memory that other calls share, not to be changed.

    Such a call launches nothing, as a rule, however the number of frames changes.
    """
    if device.type != "cuda" or not frames or not is_eager():
        return all_sites(frames, size, device)
    known = _shared.get((size, device))
    capturing = torch.cuda.is_current_stream_capturing()
    if known is None or known.frames < frames:
        if capturing or len(_shared) >= _MOST_SHARED:  # a graph's memory is not its own after it
            return all_sites(frames, size, device)
        known = _make(frames, size, device, known)
    elif known.written is not None:
        if capturing:
            return all_sites(frames, size, device)
        if known.written.query():
            known.written = None
        elif known.stream != torch.cuda.current_stream(device):
            torch.cuda.current_stream(device).wait_event(known.written)
    return known.sites[: frames * size], known.offsets[: frames + 1]


def _make(frames: int, size: int, device: torch.device, before: _Shared | None) -> _Shared:
    most = (2**31 - 1) // max(size, 1)
    frames = max(frames, min(1 << (frames - 1).bit_length(), most))
    stream = torch.cuda.current_stream(device)
    with torch.inference_mode(False):  # a later call may keep a view for its backward pass
        sites, offsets = all_sites(frames, size, device)
    made = _Shared(sites, offsets, frames, stream, stream.record_event())
    if before is not None:
        _outgrown.append(before)
    _shared[size, device] = made
    return made
