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

import torch
from torch import Tensor

import mesm_ops
from mesm_ops import use_backend
from tests.faults.ops_calls import Call, valid
from tests.faults.ops_nonsense import nonsense
from tests.mesm_ops.cases import assert_close

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
        call = valid(rng)
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
        clear = (
            not any(part in text for part in _UNCLEAR)
            and text.removeprefix("mesm_ops::").split(":")[0] in _NAMES
        )
        return "refused" if clear else "traceback", f"{type(error).__name__}: {text}"
    except (SystemError, MemoryError) as error:
        return "crashed", f"{type(error).__name__}: {error}"
    except Exception as error:
        return "traceback", f"{type(error).__name__}: {error}"
    return "wrong", f"taken, gave {type(found).__name__}"


_NAMES = {
    *mesm_ops.__all__,
    *(f"{name}_backward" for name in mesm_ops.__all__),
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
            if not call.compares:
                continue
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
