"""Tries the ops on random arguments: right ones against the definition, senseless ones for refusal.

    python -m tests.faults.ops SEED COUNT          # counts the outcomes, and prints what went wrong
    python -m tests.faults.ops SEED COUNT --only N # the N-th input alone

Outcomes: "right", "refused", "wrong" (another value, or nonsense taken), "traceback" (an exception
that does not say what was wanted), "crashed" (the interpreter's own error).
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

import mesm_ops
from mesm_ops import SparseFeatureMaps, use_backend
from tests import oracle
from tests.faults.ops_nonsense import nonsense
from tests.mesm_ops.cases import Case, assert_close, make_case, rows_of

_DTYPES = (torch.float32, torch.float32, torch.float64, torch.bfloat16, torch.float16)
_UNCLEAR = (
    "csrc",
    "API call failed",
    "not supported between",
    "has no attribute",
    "unsupported operand",
    "unpack",
    "is ambiguous",
    "object is not",
    "_arguments()",
    "INTERNAL ASSERT",
    "\n",
)


@dataclass
class Call:
    """One valid call: `run` gives results by name, some of which can be differentiated."""

    name: str
    run: Callable[[], dict[str, Tensor]]
    leaves: list[Tensor]  # whose gradients are compared
    wanted: Callable[[], dict[str, Tensor]] | None = None  # the oracle's results
    loosen: float = 1.0  # times the tolerance of one op


def tries(seed: int, count: int) -> Iterator[tuple[str, str]]:
    """Yield the outcome of each input, and a line that says what the input was."""
    for number in range(count):
        yield one(seed, number)


def run(seed: int, inputs: int) -> dict[str, int]:
    """Return how many inputs had each outcome."""
    return dict(Counter(outcome for outcome, _ in tries(seed, inputs)))


def one(seed: int, number: int) -> tuple[str, str]:
    """Return the outcome of one input, and a line that says what the input was."""
    rng = random.Random(f"{seed}:{number}")
    torch.manual_seed(rng.getrandbits(62))
    where = f"ops seed {seed} input {number}"
    if rng.random() < 0.5:
        call = _valid(rng)
        outcome, said = _compare(call, rng)
        return outcome, f"{where}: {call.name}{said}"
    name, call_it = nonsense(rng)
    outcome, said = _refusal(call_it)
    return outcome, f"{where}: {name}: {said}"


def _refusal(call: Callable[[], object]) -> tuple[str, str]:
    try:
        found = call()
    except (ValueError, TypeError, RuntimeError) as error:
        text = str(error)
        clear = not any(part in text for part in _UNCLEAR) and text.split(":")[0] in _NAMES
        return "refused" if clear else "traceback", f"{type(error).__name__}: {text}"
    except (SystemError, MemoryError) as error:
        return "crashed", f"{type(error).__name__}: {error}"
    except Exception as error:
        return "traceback", f"{type(error).__name__}: {error}"
    return "wrong", f"taken, gave {type(found).__name__}"


_NAMES = {
    *mesm_ops.__all__,
    "CrossModalAttention",
    "use_backend",
    *(f"mesm_ops::{name}" for name in mesm_ops.__all__),
}


def _compare(call: Call, rng: random.Random) -> tuple[str, str]:
    """Run on both backends; compare results with the oracle's and with each other."""
    try:
        seed = rng.getrandbits(62)
        found = {backend: _results(call, backend, seed) for backend in ("auto", "reference")}
        if call.wanted is not None:
            for backend, (results, _) in found.items():
                for name, wanted in call.wanted().items():
                    assert_close(results[name], wanted, f"{backend} {name}", call.loosen)
        results, gradients = found["auto"]
        others, other_gradients = found["reference"]
        for name, result in results.items():
            _same(result, others[name], name, call.loosen)
        for at, pair in enumerate(zip(gradients, other_gradients, strict=True)):
            if pair[0] is not None and pair[1] is not None:
                _same(pair[0], pair[1], f"gradient {at}", 64 * call.loosen)
            else:
                assert pair[0] is pair[1], f"gradient {at}: one is None"
    except AssertionError as error:
        return "wrong", ": " + " ".join(str(error).split())[:300]
    except SystemError as error:
        return "crashed", f": {error}"
    except Exception as error:
        return "traceback", f": {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return "right", ""


def _same(got: Tensor, other: Tensor, what: str, loosen: float) -> None:
    assert got.shape == other.shape, f"{what}: {tuple(got.shape)} and {tuple(other.shape)}"
    assert got.dtype == other.dtype, f"{what}: {got.dtype} and {other.dtype}"
    if got.is_floating_point():
        assert_close(got, other.double(), f"{what} of both backends", 2 * loosen)
    else:
        assert torch.equal(got, other), f"{what} differs between the backends"


def _results(call: Call, backend: str, seed: int) -> tuple[dict[str, Tensor], list[Tensor | None]]:
    for leaf in call.leaves:
        leaf.grad = None
    with use_backend(backend):
        results = call.run()
        learns = [r for r in results.values() if r.requires_grad]
        if learns:
            torch.manual_seed(seed)
            # Away from 0, so that what is compared is not the rounding of a small sum.
            torch.autograd.backward(learns, [torch.rand_like(r) + 0.5 for r in learns])
    detached = {name: result.detach() for name, result in results.items()}
    return detached, [leaf.grad for leaf in call.leaves]


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


def _valid(rng: random.Random) -> Call:
    draws = (_conv, _norm, _score, _select, _mask, _pool, _dense, _block)
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
        [] if training and x.dtype is not torch.float64 else [*leaves, weight, bias],
        None if spoiled else wanted,
        loosen=8.0,
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
    p, selection = rng.choice([0.1, 0.5, 0.9, 1, 1.0]), rng.choice(["weighted", "hard"])
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
        maps, kept = oracle.select(case.maps, case.mask, dense, p, selection == "weighted")
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
    dtype = rng.choice(_DTYPES)
    case = _case(rng, least=2, dtype=dtype)
    x, leaves = _learned(case.x, rng)
    p, selection = rng.choice([0.4, 0.8, 1.0]), rng.choice(["weighted", "hard"])
    training = rng.random() < 0.5
    (query, *weights), lengths = _attention(x, rng)
    block = mesm_ops.SparseCrossModalBlock(
        *(x.channels, rng.choice([1, 6, 16]), query.shape[1], weights[0].shape[0], p, selection)
    )
    block = block.to(dtype).train(training)
    for parameter, weight in zip(block.attention.parameters(), weights, strict=False):
        assert parameter.shape == weight.shape or parameter.numel() == weight.numel()
    for norm in (block.norm1, block.norm2):
        torch.nn.init.uniform_(norm.running_var, 0.5, 1.5)
    before = {name: value.clone() for name, value in block.state_dict().items()}

    def run() -> dict[str, Tensor]:
        block.load_state_dict(before)
        out = block(x, query, lengths)
        return _sparse(out) | {"mean": block.norm1.running_mean.clone()}

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
            selection == "weighted",
            training,
        )
        return {"features": rows_of(maps, active)}

    # Rounding moves sites over the edge of the nucleus, and rows of a small batch far.
    exact = dtype is torch.float64
    if not exact:
        p = block.p = 1.0
    return Call(
        _name("sparse_cross_modal_block", case, False, f", {training=}, {p=}, {selection}"),
        run if exact or not training else lambda: {"sites": run()["sites"]},
        [*leaves, query, *block.parameters()] if exact else [],
        wanted if exact or (dtype is torch.float32 and not training) else None,
        loosen=1e3,
    )


def main() -> None:
    """Count the outcomes, and print what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("seed", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--only", type=int)
    options = parser.parse_args()
    if options.only is not None:
        print(*one(options.seed, options.only), sep="\n")
        return
    outcomes: Counter[str] = Counter()
    for outcome, line in tries(options.seed, options.count):
        outcomes[outcome] += 1
        if outcome not in ("right", "refused"):
            print(outcome, line, flush=True)
    print(dict(outcomes))


if __name__ == "__main__":
    main()
