"""The values, pointers and matrices of TMA that kernels under the Gluon emulator reckon with."""

from __future__ import annotations

import types
from typing import Any

import numpy as np

BFLOAT16, FLOAT16 = "bfloat16", "float16"


class Values(np.ndarray):
    """A tensor's values; operators that would change them in place make new ones."""

    def to(self, dtype: Any, *_: Any, **__: Any) -> Any:
        if dtype in (BFLOAT16, FLOAT16):
            return rounded(np.asarray(self, np.float32), dtype).view(Values)
        return np.asarray(self).astype(dtype).view(Values)

    def __iadd__(self, other: Any) -> Any:
        return self + other

    def __isub__(self, other: Any) -> Any:
        return self - other

    def __imul__(self, other: Any) -> Any:
        return self * other

    def __ior__(self, other: Any) -> Any:
        return self | other


def rounded(x: Any, dtype: str = BFLOAT16) -> np.ndarray:
    """Return float32 values rounded to a 16-bit type."""
    x = np.ascontiguousarray(x, np.float32)
    if dtype == FLOAT16:
        return x.astype(np.float16).astype(np.float32)
    bits = x.view(np.uint32)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return bits.astype(np.uint32).view(np.float32)


def values(x: Any) -> Any:
    """Return values in the kernel's form."""
    return np.asarray(x).view(Values)


class Pointer:
    """An array, and indices into the array."""

    def __init__(self, array: np.ndarray, at: Any = 0, element: str = BFLOAT16) -> None:
        self.array, self.at = array.reshape(-1), np.asarray(at, np.int64)
        self.dtype = types.SimpleNamespace(element_ty=element)

    def __add__(self, other: Any) -> Pointer:
        other = np.asarray(other, np.int64)
        return Pointer(self.array, self.at + other, self.dtype.element_ty)


class Descriptor:
    """A matrix as TMA takes it: in tiles of one shape."""

    def __init__(self, array: np.ndarray, block: list[int], element: str = BFLOAT16) -> None:
        self.array, self.layout, self.dtype = array, None, element
        self.block_type = types.SimpleNamespace(shape=block)
