"""Schemas of the CUDA kernels that select and place rows; `csrc/cuda/place.cu` says what they do.

Other backends' ops call them with outputs that they made, and `place_scratch` elements of scratch.
"""

from __future__ import annotations

from .registration import define_kernel

define_kernel(
    "select_and_place",
    "(Tensor features, Tensor sites, Tensor offsets, Tensor logits, int height, int width, "
    "float p, bool weighted, Tensor(a!) attention, Tensor(b!) rows, Tensor(c!) kept_offsets, "
    "Tensor(d!) place, Tensor(e!) lists, Tensor(f!) masks, Tensor(g!) x, Tensor(h!) windows, "
    "Tensor(i!) window_of, Tensor(j!) out_sites, Tensor(k!) out_offsets, Tensor(l!) scratch) "
    "-> ()",
)
define_kernel(
    "place",
    "(Tensor sites, Tensor offsets, int height, int width, bool positions, "
    "Tensor(a!) place_or_order, Tensor(b!) lists, Tensor(c!) masks, Tensor(d!) scratch) -> ()",
)
define_kernel("place_scratch", "(Tensor sites, int frames, int height, int width) -> int")
