"""Launches that are recorded once, and from then on follow each other without what lies between.

All that a launcher does between its launches follows from shapes, dtypes and settings: sizes,
views, grids, choices of kernels. A call whose arguments are like those of earlier calls need not
do it again. The first call of a kind runs as written, and so does the second, under a recorder that
notes down each launch, and for each of its tensors the place: in which argument, in which result,
or in memory that is used between launches. Later calls allocate the results and one piece of memory
for all that is used in between, and go through the list.

Launches are recorded only if they would be the same at another time. A call in which torch itself
computes outside `launch.call`, or the host reads a value, or arguments overlap, runs as written.
"""

from __future__ import annotations

import functools
import itertools
import operator
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .ahead import planned
from .launch import STREAM, current_stream, is_profiled
from .listener import computes, listener
from .products import precision
from .room import Use, share_room

__all__ = ["Recorded"]

Results = TypeVar("Results", bound=tuple[Tensor, ...])

_MOST = 2048  # kinds of calls, of some 30 kB each; numbers of frames change from batch to batch
_shape, _dtype = operator.attrgetter("shape"), operator.attrgetter("dtype")
_ONCE, _NEVER = object(), object()  # a kind was seen once; its launches cannot be recorded
_ALIGNED = 16  # bytes: what Triton compiles a kernel for
_LINE = (1,)  # strides of memory


class Recorded(Generic[Results]):
    """A function that launches kernels, given a tuple of tensors and settings, and flags.

    Args:
        function: Launches by `launch` and `call`, and returns a tuple of fresh tensors. Tensors
            among its arguments are contiguous, and all on one device.
        ahead: Runs dry before kernels of the first call of a kind are compiled: all that it would
            launch is compiled, side by side. None: `function`.
    """

    def __init__(
        self, function: Callable[..., Results], ahead: Callable[..., object] | None = None
    ) -> None:
        self._function = function
        self._ahead = ahead or function
        self._known: dict[tuple[Any, ...], Any] = {}
        self._pickers: dict[tuple[type, ...], _Pickers] = {}

    def __call__(self, a: Sequence[Any], *flags: bool) -> Results:
        """Launch the kernels."""
        key, tensors, addresses = self._kind_of(a, flags)
        known = self._known.get(key)
        if known.__class__ is _Launches and not is_profiled():
            return known.run(tensors, addresses)  # type: ignore[no-any-return]
        if known is _ONCE:
            found, self._known[key] = self._record(a, flags, tensors)
            return found
        if known is None:
            if len(self._known) >= _MOST:
                for old in list(self._known)[: _MOST // 2]:
                    self._known.pop(old, None)  # another thread may have
            self._known[key] = _ONCE
            with planned(functools.partial(self._ahead, a, *flags)):
                return self._function(a, *flags)
        return self._function(a, *flags)

    def again(self, a: Sequence[Any], *flags: bool) -> Results | None:
        """Launch the kernels if a call of this kind was recorded; None: nothing is done."""
        key, tensors, addresses = self._kind_of(a, flags)
        known = self._known.get(key)
        if known.__class__ is _Launches and not is_profiled():
            return known.run(tensors, addresses)  # type: ignore[no-any-return]
        return None

    def _kind_of(
        self, a: Sequence[Any], flags: tuple[bool, ...]
    ) -> tuple[tuple[Any, ...], Sequence[Tensor], tuple[int, ...]]:
        """Return all that launches depend on, the tensors, and their addresses."""
        types = tuple(map(type, a))
        pickers = self._pickers.get(types)
        if pickers is None:
            pickers = self._pickers[types] = _pickers_of(types)
        tensors = pickers.tensors(a)
        addresses = tuple(map(Tensor.data_ptr, tensors))
        together = functools.reduce(operator.or_, addresses)
        key = (
            *(types, pickers.others(a), flags, precision(tensors[0].dtype)),
            *(tuple(map(_shape, tensors)), tuple(map(_dtype, tensors))),
            *(tuple(map(Tensor.get_device, tensors)),),
            # Triton compiles for addresses that are aligned.
            together % _ALIGNED and tuple([address % _ALIGNED for address in addresses]),
        )
        return key, tensors, addresses

    def cache_clear(self) -> None:
        """Forget all launches."""
        self._known.clear()
        self._pickers.clear()

    def _record(
        self, a: Sequence[Any], flags: tuple[bool, ...], tensors: Sequence[Tensor]
    ) -> tuple[Results, Any]:
        recorder = _Recorder()
        token = listener.set(recorder)
        try:
            with recorder:
                found = self._function(a, *flags)
        finally:
            listener.reset(token)
        try:
            return found, _launches_of(recorder, tensors, found)
        except _ChangesError:
            return found, _NEVER


class _Pickers(NamedTuple):
    """Take tensors, and what else there is, out of arguments of certain types."""

    tensors: Callable[[Sequence[Any]], Sequence[Tensor]]
    others: Callable[[Sequence[Any]], Sequence[Any]]


def _pickers_of(types: Sequence[type]) -> _Pickers:
    tensors = [number for number, kind in enumerate(types) if issubclass(kind, Tensor)]
    others = [number for number in range(len(types)) if number not in tensors]
    return _Pickers(_picker(tensors), _picker(others))


def _picker(numbers: Sequence[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    if len(numbers) > 1:
        return operator.itemgetter(*numbers)
    return lambda every: tuple(every[number] for number in numbers)


class _ChangesError(Exception):
    """A call would not be the same at another time."""


class _Recorder(TorchDispatchMode):
    """Notes down launches and fresh tensors, and whether torch computes anything."""

    is_dry = False

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Any, tuple[Any, ...]]] = []
        self.fresh: list[Tensor] = []  # kept, so that no memory is used twice meanwhile
        self.repeats = True

    def heard(self, run: Any, args: tuple[Any, ...]) -> None:
        """Note down a launch."""
        self.steps.append((run, args))
        self.repeats = self.repeats and run is not None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if listener.get() is self:  # not inside of `launch.call`
            if computes(func):
                self.repeats = False
            elif not func.is_view:
                self.fresh.append(found)
        return found


class _Place(NamedTuple):
    """Where a tensor lies: in an argument, in a result, or in the memory between launches."""

    root: int  # by number: arguments, results, then the memory
    offset: int  # bytes
    cast: torch.dtype | None  # None: the root is of this dtype
    shape: torch.Size
    strides: tuple[int, ...]
    start: int  # the offset in elements
    is_whole: bool  # of an argument or a result


class _Map(NamedTuple):
    """A TMA descriptor of a tensor."""

    place: _Place
    kind: type
    fields: dict[str, Any]


class _Address(int):
    """An address, which Triton asks of a descriptor's tensor."""

    def data_ptr(self) -> int:
        """Return the address."""
        return self


def _view(root: Tensor, place: _Place) -> Tensor:
    _, _, cast, shape, strides, start, _ = place
    if cast is not None:
        root = root.view(cast)
    return root.as_strided(shape, strides, root.storage_offset() + start)


def _descriptor(address: int, kind: type, fields: dict[str, Any]) -> Any:
    made: Any = object.__new__(kind)
    made.__dict__.update(fields)
    made.base = _Address(address)
    return made


class _Launches:
    """Launches and calls whose arguments are constants, the stream, and what lies in places."""

    def __init__(
        self,
        steps: Sequence[tuple[Any, Sequence[Any]]],
        results: Sequence[Tensor],
        kind: Any,
        room: int,
        like: Tensor,
    ) -> None:
        self._results = [(tensor.shape, tensor.stride(), tensor.dtype) for tensor in results]
        self._make, self._room = getattr(kind, "_make", kind), (room,)
        self._device, self._index = like.device, like.get_device()
        # Each step picks its arguments from one list, of which these are the parts, in order.
        self._same: list[Any] = []
        self._addresses: list[tuple[int, int]] = []
        self._maps: list[tuple[int, int, type, dict[str, Any]]] = []
        self._views: list[tuple[int, _Place]] = []
        self._whole: list[int] = []
        parts: tuple[list[Any], ...] = (
            *(self._same, [STREAM], self._addresses, self._maps, self._views, self._whole),
        )
        numbers: dict[Any, tuple[int, int]] = {}

        def number_of(arg: Any, kernel: bool) -> tuple[int, int]:
            if arg is STREAM:
                return 1, 0
            key, part, item = ("same", id(arg)), 0, arg  # type: tuple[Any, ...], int, Any
            if isinstance(arg, _Map):
                key, part = ("map", arg.place, *arg.fields["block_shape"]), 3
                item = (*arg.place[:2], arg.kind, arg.fields)
            elif isinstance(arg, _Place):
                key, part, item = ("view", *arg), 4, (arg.root, arg)
                if arg.is_whole:
                    key, part, item = ("whole", arg.root), 5, arg.root
                if kernel:
                    key, part, item = ("address", *arg[:2]), 2, arg[:2]
            if key not in numbers:
                numbers[key] = (part, len(parts[part]))
                parts[part].append(item)
            return numbers[key]

        picked = [
            # A kernel that is not interpreted takes addresses, and a stream before them.
            (run, [number_of(arg, any(one is STREAM for one in args)) for arg in args])
            for run, args in steps
        ]
        before = [0, *itertools.accumulate(map(len, parts))]
        self._steps = [
            (run, _picker([before[part] + number for part, number in numbered]))
            for run, numbered in picked
        ]

    def run(self, tensors: Sequence[Tensor], addresses: Sequence[int]) -> Any:
        """Launch again, for tensors as those of the recording; return the results."""
        # `empty` takes longer to understand its arguments than `empty_strided`.
        device, empty = self._device, torch.empty_strided
        results = [
            empty(shape, strides, dtype=dtype, device=device)
            for shape, strides, dtype in self._results
        ]
        if self._room[0]:
            results.append(empty(self._room, _LINE, dtype=torch.uint8, device=device))
        roots = (*tensors, *results)
        at = (*addresses, *[tensor.data_ptr() for tensor in results])
        every = [
            *self._same,
            current_stream(self._index),
            *[at[root] + offset for root, offset in self._addresses],
            *[_descriptor(at[root] + offset, kind, f) for root, offset, kind, f in self._maps],
            *[_view(roots[root], place) for root, place in self._views],
            *[roots[number] for number in self._whole],
        ]
        for run, pick in self._steps:
            run(*pick(every))
        return self._make(results[: len(self._results)])


class _Spans:
    """Tells in which of some tensors, none of which overlap, another tensor lies."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        spans = sorted((*_span(tensor), at) for at, tensor in enumerate(tensors) if tensor.numel())
        self._begins = [begin for begin, _, _ in spans]
        self._spans = spans
        overlap = any(one[1] > other[0] for one, other in itertools.pairwise(spans))
        if overlap or not all(tensor.is_contiguous() for tensor in tensors):
            raise _ChangesError

    def find(self, tensor: Tensor) -> tuple[int, int]:
        """Return which of the tensors, by number, and how many bytes from its beginning."""
        begin, end = _span(tensor)
        place = bisect_right(self._begins, begin) - 1
        if place < 0 or end > self._spans[place][1]:
            raise _ChangesError
        return self._spans[place][2], begin - self._begins[place]


def _span(tensor: Tensor) -> tuple[int, int]:
    lengths = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((length - 1) * stride for length, stride in lengths)
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def _kind_of(tensor: Tensor) -> tuple[torch.dtype, torch.Size]:
    return tensor.dtype, tensor.shape


def _tensor_of(arg: Any) -> Tensor | None:
    """Return an argument that lies in memory, or whose descriptor the argument is."""
    if isinstance(arg, Tensor):
        return arg if arg.numel() else None
    return arg.base if hasattr(arg, "block_shape") else None  # type: ignore[no-any-return]


def _launches_of(recorder: _Recorder, tensors: Sequence[Tensor], found: Any) -> _Launches:
    """Return what was recorded, for other arguments and results.

    Raises:
        _ChangesError: Another call would not be the same.
    """
    if not recorder.repeats:
        raise _ChangesError
    held, inputs = (*tensors, *recorder.fresh), len(tensors)
    spans = _Spans(held)
    moved = {at: (at, 0) for at in range(inputs)}  # to which root, and where in the root
    whole_of: dict[int, tuple[torch.dtype, torch.Size | None]] = {
        at: _kind_of(tensor) for at, tensor in enumerate(tensors)
    }
    for number, result in enumerate(found):
        if result.numel():
            at, _ = spans.find(result)
            if at in moved or result.nbytes != held[at].nbytes or not result.is_contiguous():
                raise _ChangesError
            moved[at], whole_of[at] = (inputs + number, 0), _kind_of(result)
    lives: dict[int, tuple[int, int]] = {}
    for step, (_, args) in enumerate(recorder.steps):
        for tensor in map(_tensor_of, args):
            if tensor is not None:
                at, _ = spans.find(tensor)
                lives[at] = (lives.get(at, (step, step))[0], step)
    lent = [at for at in lives if at not in moved]
    begins, room = share_room([Use(held[at].nbytes, *lives[at]) for at in lent])
    moved |= {at: (inputs + len(found), begin) for at, begin in zip(lent, begins, strict=True)}

    def placed(arg: Any) -> Any:
        tensor = _tensor_of(arg)
        if tensor is None:
            return torch.empty_like(arg) if isinstance(arg, Tensor) else arg  # holds no memory
        at, offset = spans.find(tensor)
        root, begin = moved[at]
        dtype, shape = _kind_of(tensor)
        of_root = whole_of.get(at, (torch.uint8, None))
        whole = of_root == (dtype, shape) and tensor.is_contiguous()
        cast = None if of_root[0] is dtype else dtype
        begin += offset
        start = begin // dtype.itemsize
        place = _Place(root, begin, cast, shape, tensor.stride(), start, whole)
        return place if tensor is arg else _Map(place, type(arg), {**vars(arg), "base": None})

    steps = [(run, [placed(arg) for arg in args]) for run, args in recorder.steps]
    return _Launches(steps, found, type(found), room, tensors[0])
