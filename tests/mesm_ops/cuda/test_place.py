"""The kernels that select and place rows, on a GPU."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from mesm_ops import extension
from tests import oracle
from tests.mesm_ops.cuda.capture import check_capture
from tests.oracle import placing

pytestmark = pytest.mark.gpu

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SPAN_SITES = 131072  # csrc/cuda/sum_up.cuh


@dataclass(frozen=True)
class Case:
    """Candidates of each frame."""

    counts: list[int]
    height: int
    width: int
    channels: int
    padding: int = 0

    def span_frames(self) -> int:
        return max(1, SPAN_SITES // max(1, self.height * self.width))


CASES = {
    "no frame": Case([], 4, 5, 8, padding=200),
    "no rows": Case([0, 0], 3, 3, 8),
    "one site": Case([1], 1, 1, 8),
    "odd": Case([35, 0, 20, 1, 12] * 30, 5, 7, 3, padding=100),
    "dense 24": Case([576] * 512, 24, 24, 64),
    "sparse 24": Case([300, 0, 40, 576] * 75, 24, 24, 64, padding=400),
    "dense 12": Case([144] * 512, 12, 12, 128),
    "dense 6": Case([36] * 512, 6, 6, 256, padding=77),
    "small frames": Case([36, 20, 0, 4] * 1500, 6, 6, 16),
    "spectrogram 64": Case([1024, 900] * 20, 64, 16, 32),
    "spectrogram 16": Case([64, 50, 64, 0, 13] * 50, 16, 4, 24),
    "one column": Case([700, 33], 1000, 1, 8),
    "largest in shared memory": Case([4096, 1000, 4096], 64, 64, 8),
    "not in shared memory": Case([4160, 0, 2000], 65, 64, 8),
    "largest": Case([16384] * 19, 128, 128, 8),
}


@dataclass(frozen=True)
class Maps:
    features: Tensor
    sites: Tensor
    offsets: Tensor
    logits: Tensor
    height: int
    width: int

    def cuda(self) -> Maps:
        tensors = (self.features, self.sites, self.offsets, self.logits)
        return Maps(*(t.cuda() for t in tensors), self.height, self.width)


def draw(case: Case, dtype: torch.dtype = torch.float32) -> Maps:
    """Random candidates; NaN and senseless sites in the padding rows, which are to be ignored."""
    area, rows = case.height * case.width, sum(case.counts)
    drawn = [torch.randperm(area)[:count].sort().values for count in case.counts]
    padding = torch.full((case.padding,), torch.nan)
    features = torch.cat(
        [torch.randn(rows, case.channels), padding[:, None].expand(-1, case.channels)]
    )
    # Half of a coarse grid, so that there are equals.
    logits = torch.randn(rows) * 2
    logits = torch.where(torch.rand(rows) < 0.5, logits, (logits * 2).round() / 2)
    return Maps(
        features.to(dtype),
        torch.cat([*drawn, torch.full((case.padding,), 10**9)]).int(),
        torch.tensor([0, *case.counts]).cumsum(0, dtype=torch.int32),
        torch.cat([logits, padding]),
        case.height,
        case.width,
    )


def outputs(maps: Maps) -> dict[str, Tensor]:
    rows, frames = len(maps.sites), len(maps.offsets) - 1
    tiles = -(-rows // placing.TILE_ROWS)
    windows = min(rows, frames * (maps.height // 2) * (maps.width // 2))
    positions = tiles * placing.TILE_ROWS
    integers = {
        "rows": (rows,),
        "kept_offsets": (frames + 1,),
        "place": (rows,),
        "lists": (tiles, 9, placing.TILE_ROWS),
        "masks": (tiles,),
        "windows": (windows, 4),
        "window_of": (positions,),
        "out_sites": (windows,),
        "out_offsets": (frames + 1,),
        "scratch": (scratch_size(maps),),
    }
    made = {
        name: maps.sites.new_full(shape, -77, dtype=torch.int32) for name, shape in integers.items()
    }
    made["attention"] = maps.logits.new_full((rows,), -77.0)
    made["x"] = maps.features.new_full((positions, maps.features.shape[1]), -77.0)
    return made


@pytest.fixture(autouse=True)
def kernels() -> None:
    """Loads the library: `mesm_ops` does so where an op first runs on a CUDA kernel."""
    assert extension.cuda_missing() is None


def scratch_size(maps: Maps) -> int:
    frames = len(maps.offsets) - 1
    size = torch.ops.mesm_ops_cuda.place_scratch(maps.sites, frames, maps.height, maps.width)
    return int(size)


def select_and_place(
    maps: Maps, p: float, weighted: bool, made: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    made = outputs(maps) if made is None else made
    torch.ops.mesm_ops_cuda.select_and_place(
        *(maps.features, maps.sites, maps.offsets, maps.logits, maps.height, maps.width),
        *(p, weighted),
        **made,
    )
    return made


def nuclei(offsets: Tensor, attention: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Return the kept candidates, and their offsets by frame."""
    kept, ends = [], [0]
    for begin, end in zip(offsets.tolist(), offsets[1:].tolist(), strict=False):
        keep = oracle.nucleus(attention[begin:end].tolist(), p)
        kept += [begin + i for i, one in enumerate(keep) if one]
        ends.append(len(kept))
    return torch.tensor(kept, dtype=torch.int64), torch.tensor(ends)


def equal(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True, check_dtype=False)


def check(maps: Maps, p: float, weighted: bool, span_frames: int) -> None:
    found = {name: t.cpu() for name, t in select_and_place(maps.cuda(), p, weighted).items()}
    attention = found["attention"]
    exact = torch.zeros(len(attention), dtype=torch.float64)
    for begin, end in zip(maps.offsets.tolist(), maps.offsets[1:].tolist(), strict=False):
        exact[begin:end] = maps.logits[begin:end].double().softmax(0)
    torch.testing.assert_close(attention.double(), exact, rtol=2**-23, atol=1e-45, equal_nan=True)
    rows, offsets = nuclei(maps.offsets, attention, p)
    number = len(rows)
    equal(found["kept_offsets"], offsets)
    equal(found["rows"][:number], rows)
    assert (found["rows"][number:] == -1).all()

    sites = maps.sites[rows]
    placed = placing.place(sites, offsets, maps.height, maps.width, span_frames)
    tiles = len(placed.masks)
    equal(found["place"][:number], placed.place)
    equal(found["lists"][:tiles], placed.lists)
    equal(found["masks"][:tiles], placed.masks)

    x = maps.features[rows]
    if weighted:
        candidates = maps.offsets.diff()[placing.frames_of(offsets)]
        x = (x.float() * (candidates * attention[rows])[:, None]).to(x.dtype)
    equal(found["x"][placed.place], x)

    pooled = placing.pool(placed.place, sites, offsets, maps.height, maps.width)
    equal(found["out_offsets"], pooled.offsets)
    equal(found["windows"][: len(pooled.windows)], pooled.windows)
    equal(found["out_sites"][: len(pooled.sites)], pooled.sites)
    assert (found["out_sites"][len(pooled.sites) :] == 0).all()
    equal(found["window_of"][:number], pooled.window_of)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("p", [1e-9, 0.5, 1.0])
def test_equals_the_oracle(case: Case, p: float) -> None:
    check(draw(case, torch.bfloat16), p, True, case.span_frames())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("channels", [0, 1, 24, 520])
def test_rows_of_any_width_and_type(dtype: torch.dtype, weighted: bool, channels: int) -> None:
    case = replace(CASES["spectrogram 16"], channels=channels)
    check(draw(case, dtype), 0.6, weighted, case.span_frames())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_scores_that_are_not_finite_keep_their_frame(bad: float) -> None:
    case = Case([300, 576, 20], 24, 24, 16, padding=3)
    maps = draw(case)
    maps.logits[300:876] = bad
    found = select_and_place(maps.cuda(), 0.3, True)
    assert found["kept_offsets"].diff()[1] == 576
    check(maps, 0.3, True, case.span_frames())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("positions", [True, False])
def test_places_given_rows(case: Case, positions: bool) -> None:
    maps = draw(case)
    made = {name: t for name, t in outputs(maps.cuda()).items() if name in ("lists", "masks")}
    rows, tiles = len(maps.sites), len(made["masks"])
    size = rows if positions else tiles * placing.TILE_ROWS
    made["place_or_order"] = torch.full((size,), -77, dtype=torch.int32, device="cuda")
    on_device = maps.cuda()
    torch.ops.mesm_ops_cuda.place(
        *(on_device.sites, on_device.offsets, maps.height, maps.width, positions),
        **made,
        scratch=torch.empty(scratch_size(on_device), dtype=torch.int32, device="cuda"),
    )
    found = {name: t.cpu() for name, t in made.items()}
    number = int(maps.offsets[-1])
    sites = maps.sites[:number]
    placed = placing.place(sites, maps.offsets, maps.height, maps.width, case.span_frames())
    used = len(placed.masks)
    equal(found["masks"][:used], placed.masks)
    lists, where = found["lists"], found["place_or_order"]
    if positions:
        equal(where[:number], placed.place)
        equal(lists[:used], placed.lists)
        return
    order = placed.place.argsort()
    equal(where[:number], order)
    rest = torch.arange(number, len(where))
    equal(where[number:], rest.where(rest < rows, -1))
    wanted = order[placed.lists.clamp(min=0)] if number else placed.lists
    equal(lists[:used], wanted.where(placed.lists >= 0, -1))


def test_two_runs_give_the_same_bits() -> None:
    maps = draw(CASES["dense 24"], torch.bfloat16).cuda()
    first = select_and_place(maps, 0.5, True)
    again = select_and_place(maps, 0.5, True)
    for name, one in first.items():
        assert torch.equal(one, again[name]), name


def test_nothing_waits_and_a_graph_captures() -> None:
    maps = draw(CASES["sparse 24"], torch.bfloat16).cuda()
    made = outputs(maps)
    torch.use_deterministic_algorithms(False)  # whose filling of fresh memory is no part of the op

    def step() -> tuple[Tensor, ...]:
        select_and_place(maps, 0.5, True, made)
        return tuple(made[name].clone() for name in ("rows", "kept_offsets", "masks", "out_sites"))

    check_capture(step)


def test_what_is_refused() -> None:
    maps = draw(Case([20, 16], 5, 5, 8)).cuda()
    made = outputs(maps)

    def refuses(match: str, maps: Maps = maps, p: float = 0.5, **others: Tensor) -> None:
        with pytest.raises(RuntimeError, match=match):
            select_and_place(maps, p, True, made | others)

    refuses("p must be in", p=0.0)
    refuses("at most 16384 sites, got 129 x 128", replace(maps, height=129, width=128))
    refuses("sites must be Int", replace(maps, sites=maps.sites.long()))
    refuses("logits must be Float", replace(maps, logits=maps.logits.double()))
    refuses(
        r"logits must be \(36\) and contiguous, got \(20\)", replace(maps, logits=maps.logits[:20])
    )
    refuses(
        "float32, bfloat16 or float16 features",
        replace(maps, features=maps.features.double()),
        x=made["x"].double(),
    )
    turned = maps.features.t().contiguous().t()
    refuses(r"features must be \(36, 8\) and contiguous", replace(maps, features=turned))
    refuses(r"lists must be \(1, 9, 128\)", lists=made["lists"][:, :8])
    refuses("masks must be Int on the device of sites", masks=made["masks"].cpu())
    refuses("scratch must be of at least", scratch=made["scratch"][:-1])
    refuses("x must be Float", x=made["x"].half())
    with pytest.raises(RuntimeError, match="at most 16384 sites"):
        torch.ops.mesm_ops_cuda.place_scratch(maps.sites, 2, 16384, 2)
