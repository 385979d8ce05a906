"""Draws valid calls of the ops, of every dtype, with padding, finite or not, and of the block."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

import mesm_ops
from mesm_ops import SparseFeatureMaps
from tests import oracle
from tests.mesm_ops.cases import Case, make_case, rows_of

_SELECTIONS = ("weighted", "hard", "straight_through")
_DTYPES = (torch.float32, torch.float32, torch.float64, torch.bfloat16, torch.float16)


@dataclass
class Call:
    """One valid call: `run` gives results by name, some of which can be differentiated."""

    name: str
    run: Callable[[], dict[str, Tensor]]
    leaves: list[Tensor]  # whose gradients are compared
    wanted: Callable[[], dict[str, Tensor]] | None = None  # the oracle's results
    loosen: float = 1.0  # times the tolerance of one op
    compares: bool = True  # gradients, which are computed in any case


def _case(rng: random.Random, least: int = 1, dtype: torch.dtype | None = None) -> Case:
    return make_case(
        frames=rng.randrange(4),
        channels=rng.choice([1, 2, 3, 8, 17]),
        height=rng.randrange(least, 6),
        width=rng.randrange(least, 6),
        density=rng.choice([0.0, 0.2, 0.6, 1.0]),
        dtype=dtype or rng.choice(_DTYPES),
        padding=rng.choice([0, 1, 3]),
        strided=rng.random() < 0.3,
        seed=rng.getrandbits(30),
    )


def _learned(x: SparseFeatureMaps, rng: random.Random) -> tuple[SparseFeatureMaps, list[Tensor]]:
    if rng.random() < 0.4:
        return x, []
    features = x.features.detach().requires_grad_()
    return x.with_features(features), [features]


def _drawn(dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.randn(*shape).to(dtype).requires_grad_()


def _spoil(tensors: list[Tensor], rng: random.Random) -> None:
    """Put an infinity or a NaN into one or two tensors."""
    for _ in range(rng.choice([1, 1, 2])):
        tensor = rng.choice(tensors)
        if tensor.numel():
            value = rng.choice([torch.inf, -torch.inf, torch.nan])
            tensor.data[tuple(rng.randrange(n) for n in tensor.shape)] = value


def valid(rng: random.Random) -> Call:
    """Return a call that must give what the definition says."""
    draws = (_conv, _norm, _score, _select, _mask, _pool, _dense, _block, _block, _lone_site)
    return rng.choice(draws)(rng)


def _sparse(x: SparseFeatureMaps) -> dict[str, Tensor]:
    return {"features": x.features, "sites": x.sites, "offsets": x.offsets}


def _name(name: str, case: Case, spoiled: bool, more: str = "") -> str:
    x = case.x
    size = f"{x.frames} frames, {x.channels}x{x.height}x{x.width}, {x.features.shape[0]} rows"
    dtype = str(x.dtype).removeprefix("torch.")
    return f"{name} {dtype}, {size}{more}{', not finite' if spoiled else ''}"


def _rows_with_padding(wanted: Tensor, rows: int) -> Tensor:
    return torch.cat([wanted, wanted.new_zeros(rows - wanted.shape[0], *wanted.shape[1:])])


def _conv(rng: random.Random) -> Call:
    case = _case(rng)
    x, leaves = _learned(case.x, rng)
    weight = _drawn(x.dtype, rng.choice([1, 5, 16]), x.channels, 3, 3)
    bias = _drawn(x.dtype, weight.shape[0]) if rng.random() < 0.5 else None
    given = [weight] if bias is None else [weight, bias]
    spoiled = rng.random() < 0.3
    if spoiled:
        _spoil([x.features[: case.rows], *given], rng)

    def wanted() -> dict[str, Tensor]:
        maps = oracle.conv(case.maps, case.mask, *(t.detach().double() for t in given))
        return {"features": _rows_with_padding(rows_of(maps, case.mask), x.features.shape[0])}

    return Call(
        _name("subm_conv2d", case, spoiled),
        lambda: {"features": mesm_ops.subm_conv2d(x, weight, bias).features},
        [*leaves, *given],
        None if spoiled else wanted,
    )


def _norm(rng: random.Random) -> Call:
    case = _case(rng)
    x, leaves = _learned(case.x, rng)
    dtype = x.dtype if rng.random() < 0.5 else torch.promote_types(x.dtype, torch.float32)
    weight, bias = _drawn(dtype, x.channels), _drawn(dtype, x.channels)
    mean, var = torch.randn(x.channels).to(dtype), torch.rand(x.channels).to(dtype)
    training, relu = rng.random() < 0.6, rng.random() < 0.5
    momentum, eps = rng.choice([0.0, 0.1, 1.0, 1]), rng.choice([1e-5, 0.1])
    spoiled = rng.random() < 0.3
    if spoiled:
        _spoil([x.features[: case.rows], weight, bias, mean], rng)

    def run() -> dict[str, Tensor]:
        moved = mean.clone(), var.clone()
        out = mesm_ops.sparse_batch_norm(x, *moved, weight, bias, training, momentum, eps, relu)
        return {"features": out.features, "mean": moved[0], "var": moved[1]}

    def wanted() -> dict[str, Tensor]:
        given = (t.detach().double() for t in (weight, bias, mean, var))
        maps, _, _ = oracle.batch_norm(case.maps, case.mask, *given, training, eps, relu)
        return {"features": _rows_with_padding(rows_of(maps, case.mask), x.features.shape[0])}

    # Gradients cancel where a batch is small: the norms of few rows are compared with more room.
    return Call(
        _name("sparse_batch_norm", case, spoiled, f", training={training}, relu={relu}"),
        run,
        [*leaves, weight, bias],
        None if spoiled else wanted,
        loosen=8.0,
        compares=not training or x.dtype is torch.float64,
    )


def _lengths(frames: int, rng: random.Random) -> Tensor | None:
    if rng.random() < 0.4:
        return None
    cuts = sorted(rng.randint(0, frames) for _ in range(rng.randrange(3)))
    ends = [*cuts, frames]
    counts = [end - begin for begin, end in zip([0, *cuts], ends, strict=True)]
    return torch.tensor(counts, dtype=rng.choice([torch.int32, torch.int64]))


def _attention(x: SparseFeatureMaps, rng: random.Random) -> tuple[list[Tensor], Tensor | None]:
    lengths = _lengths(x.frames, rng)
    samples = x.frames if lengths is None else lengths.shape[0]
    k, dim = rng.choice([1, 4, 17]), rng.choice([1, 6])
    shapes = ((samples, dim), (k, x.channels), (k,), (k, dim), (1, k), (1,))
    return [_drawn(x.dtype, *shape) for shape in shapes], lengths


def _score(rng: random.Random) -> Call:
    case = _case(rng)
    x, leaves = _learned(case.x, rng)
    (query, *weights), lengths = _attention(x, rng)
    spoiled = rng.random() < 0.3
    if spoiled:
        _spoil([x.features[: case.rows], query, *weights], rng)

    def wanted() -> dict[str, Tensor]:
        asked, *given = (t.detach().double() for t in (query, *weights))
        logits = oracle.score(case.maps, asked, lengths, oracle.Attention(*given))
        return {"logits": _rows_with_padding(logits[case.mask], x.features.shape[0])}

    return Call(
        _name("cross_modal_score", case, spoiled),
        lambda: {"logits": mesm_ops.cross_modal_score(x, query, lengths, *weights)},
        [*leaves, query, *weights],
        None if spoiled or not case.rows else wanted,
        loosen=16.0,
    )


def _is_far(logits: Tensor, p: float) -> bool:
    """Return whether no mass before a site is so close to p that rounding decides."""
    mass = logits.detach().double().softmax(0).sort(descending=True).values.cumsum(0)
    return p >= 1 or not logits.numel() or bool(((mass - p).abs() > 1e-4).all())


def _select(rng: random.Random) -> Call:
    case = _case(rng)
    x, leaves = _learned(case.x, rng)
    wide = torch.promote_types(x.dtype, torch.float32)
    logits = _drawn(wide, x.features.shape[0])
    p, selection = (
        rng.choice([0.1, 0.5, 0.9, 1, 1.0]),
        rng.choice(_SELECTIONS),
    )
    ends = x.offsets.tolist()
    frames = [logits[a:b] for a, b in pairwise(ends)]
    if not all(_is_far(one, p) for one in frames):
        p = 1.0
    spoiled = rng.random() < 0.3
    if spoiled:
        _spoil([x.features[: case.rows], logits[: case.rows]], rng)

    def wanted() -> dict[str, Tensor]:
        dense = torch.zeros(case.mask.shape, dtype=torch.float64)
        dense[case.mask] = logits.detach().double()[: case.rows]
        maps, kept = oracle.select(case.maps, case.mask, dense, p, selection)
        return {"features": rows_of(maps, kept)}

    return Call(
        _name("top_p_select", case, spoiled, f", p={p}, {selection}"),
        lambda: _sparse(mesm_ops.top_p_select(x, logits, p, selection)),  # type: ignore[arg-type]
        [*leaves, logits],
        None if spoiled else wanted,
        loosen=4.0,
    )


def _mask(rng: random.Random) -> Call:
    logits = torch.randn(rng.randrange(4), rng.randrange(6)).to(rng.choice(_DTYPES))
    p = rng.choice([0.2, 0.5, 1.0])
    if not all(_is_far(row, p) for row in logits):
        p = 1.0

    def wanted() -> dict[str, Tensor]:
        kept = [oracle.nucleus(row.double().softmax(0).tolist(), p) for row in logits]
        return {"mask": torch.tensor(kept, dtype=torch.float64).reshape(logits.shape)}

    return Call(
        f"top_p_mask {tuple(logits.shape)} {logits.dtype}, p={p}",
        lambda: {"mask": mesm_ops.top_p_mask(logits, p).double()},
        [],
        wanted,
    )


def _pool(rng: random.Random) -> Call:
    case = _case(rng, least=2)
    x, leaves = _learned(case.x, rng)
    spoiled = rng.random() < 0.3
    if spoiled:
        _spoil([x.features[: case.rows]], rng)

    def wanted() -> dict[str, Tensor]:
        return {"features": rows_of(*oracle.max_pool(case.maps, case.mask))}

    return Call(
        _name("sparse_max_pool2d", case, spoiled),
        lambda: _sparse(mesm_ops.sparse_max_pool2d(x)),
        leaves,
        None if spoiled else wanted,
    )


def _dense(rng: random.Random) -> Call:
    case = _case(rng)
    maps = case.maps.to(case.x.dtype).requires_grad_()
    mask = case.mask if rng.random() < 0.7 else None

    def wanted() -> dict[str, Tensor]:
        return {"dense": case.maps if mask is None else torch.where(mask[:, None], case.maps, 0)}

    return Call(
        _name("from_dense and to_dense", case, spoiled=False),
        lambda: {"dense": SparseFeatureMaps.from_dense(maps, mask).to_dense()},
        [maps],
        wanted,
    )


def _block(rng: random.Random) -> Call:
    """The block as a module: whole, in halves, one norm in eval, under autocast, not finite."""
    dtype = rng.choice(_DTYPES)
    case = _case(rng, least=2, dtype=dtype)
    x, leaves = _learned(case.x, rng)
    p, selection = rng.choice([0.4, 0.8, 1.0]), rng.choice(_SELECTIONS)
    (query, *weights), lengths = _attention(x, rng)
    k, dim = weights[0].shape[0], query.shape[1]
    block = mesm_ops.SparseCrossModalBlock(
        *(x.channels, rng.choice([1, 6, 16]), dim, k, p, selection)
    ).to(dtype)
    training = rng.random() < 0.5
    block.train(training)
    norms = (block.norm1, block.norm2)
    for norm in norms:
        torch.nn.init.uniform_(norm.running_var, 0.5, 1.5)
        norm.momentum = rng.choice([0.1, None, 0.0, 1.0])
    alone = rng.random() < 0.2
    if alone:
        rng.choice(norms).train(not training)
    halves = rng.random() < 0.3
    spoiled = rng.random() < 0.2
    if spoiled:
        _spoil([x.features[: case.rows], query, *block.parameters()], rng)
    cast = rng.choice([None, None, torch.bfloat16, torch.float16])
    if dtype in (torch.bfloat16, torch.float16):  # a norm's parameters are not cast
        cast = None
    before = {name: value.clone() for name, value in block.state_dict().items()}

    def run() -> dict[str, Tensor]:
        block.load_state_dict(before)
        with torch.autocast("cpu", cast, enabled=cast is not None):
            if halves:
                out = block.convolve(block.attend(x, query, lengths))
            else:
                out = block(x, query, lengths)
        statistics = {f"mean{i}": norm.running_mean.clone() for i, norm in enumerate(norms)}
        statistics |= {f"batches{i}": norm.num_batches_tracked for i, norm in enumerate(norms)}
        return _sparse(out) | statistics

    def wanted() -> dict[str, Tensor]:
        stages = tuple(
            oracle.ConvNorm(
                *(t.detach().double() for t in (conv.weight, norm.weight, norm.bias)),
                *(before[f"{at}.{one}"].double() for one in ("running_mean", "running_var")),
            )
            for at, conv, norm in (
                ("norm1", block.conv1, block.norm1),
                ("norm2", block.conv2, block.norm2),
            )
        )
        attention = oracle.Attention(
            *(t.detach().double() for t in block.attention.parameter_tuple())
        )
        maps, active, _ = oracle.block(
            *(case.maps, case.mask, query.detach().double(), lengths, attention, stages, p),
            selection,
            training,
        )
        return {"features": rows_of(maps, active)}

    # Rounding moves sites over the edge of the nucleus, and rows of a small batch far.
    exact = dtype is torch.float64
    if not exact:
        p = block.p = 1.0
    known = exact or (dtype is torch.float32 and not training and not alone and cast is None)
    more = f", {training=}, {p=}, {selection}, {alone=}, {halves=}, {cast=}"
    return Call(
        _name("sparse_cross_modal_block", case, spoiled, more),
        run if known else lambda: {"sites": (found := run())["sites"], "loss": _loss(found)},
        [*leaves, query, *block.parameters()],
        wanted if known and not (spoiled or alone) else None,
        loosen=1e3,
        compares=exact,
    )


def _loss(found: dict[str, Tensor]) -> Tensor:
    """Return 0, which is differentiated through the block though its value says nothing."""
    return (found["features"].float().nan_to_num(0, 0, 0) * 0).sum()


def _lone_site(rng: random.Random) -> Call:
    """Train on one site: a norm's batch has no variance, so no gradient passes."""
    dtype = rng.choice(_DTYPES)
    channels, out = rng.choice([1, 3, 8]), rng.choice([1, 5, 8])
    block = mesm_ops.SparseCrossModalBlock(channels, out, 5, 5, p=1.0, selection="hard").to(dtype)
    for norm in (block.norm1, block.norm2):
        torch.nn.init.ones_(norm.bias)
    features = _drawn(dtype, 1, channels)
    site = torch.tensor([rng.randrange(4)], dtype=torch.int32)
    x = SparseFeatureMaps(features, site, torch.tensor([0, 1], dtype=torch.int32), 2, 2)
    leaves = [features, block.conv1.weight, block.conv2.weight]

    def run() -> dict[str, Tensor]:
        out = block(x, torch.zeros(1, 5, dtype=dtype))
        gradients = torch.autograd.grad(out.features.sum(), leaves)
        return {f"gradient{i}": gradient for i, gradient in enumerate(gradients)}

    def wanted() -> dict[str, Tensor]:
        shapes = {f"gradient{i}": leaf.shape for i, leaf in enumerate(leaves)}
        return {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}

    return Call(f"a block trained on one site, {dtype}, {channels} to {out}", run, [], wanted)
