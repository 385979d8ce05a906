"""Draws calls of the ops' public functions and classes in which one argument makes no sense."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

import mesm_ops
from mesm_ops import AttentionParameters, NormParameters, SparseFeatureMaps
from tests.mesm_ops.cases import make_case

_OBJECTS: list[Any] = [None, "x", [1.0], {}, 3, 2.5, object()]
_NUMBERS: list[Any] = [
    *(None, "0.5", [0.5], 1j, torch.tensor([0.1, 0.2]), {}, object()),
    *(float("nan"), float("inf"), -1, -0.5, True),
]
_FLAGS: list[Any] = [None, float("nan"), "yes", 2, 0, [], torch.tensor(True)]
_SIZES: list[Any] = [-1, 0, None, 2.5, "3", [3], float("nan"), torch.tensor(3), 1j, True]
_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def nonsense(rng: random.Random) -> tuple[str, Callable[[], object]]:
    """Return a name, and a call that must be refused."""
    draw = rng.choice((*[_op] * 5, _maps, _from_dense, _methods, _module, _call, _transform))
    return draw(rng)


def _spoiled_tensor(tensor: Tensor, rng: random.Random) -> tuple[str, Any]:
    """Return a tensor that does not fit where `tensor` does, or no tensor."""
    other = rng.choice([dtype for dtype in _FLOATS if dtype is not tensor.dtype])
    kinds: dict[str, Callable[[], Any]] = {
        "an object": lambda: rng.choice(_OBJECTS),
        "complex": lambda: tensor.detach().to(torch.complex64),
        "int64": lambda: torch.ones(tensor.shape, dtype=torch.int64),
        "bool": lambda: torch.ones(tensor.shape, dtype=torch.bool),
        "float8": lambda: torch.zeros(tensor.shape).to(torch.float8_e4m3fn),
        "on meta": lambda: torch.empty(tensor.shape, dtype=tensor.dtype, device="meta"),
        "one dimension more": lambda: tensor.detach()[None],
        "no dimension": lambda: torch.tensor(1.0, dtype=tensor.dtype),
        "longer": lambda: torch.cat([tensor.detach(), tensor.detach().new_ones(tensor.shape)]),
        "sparse": lambda: tensor.detach().to_sparse(),
    }
    if tensor.is_floating_point():
        kinds[str(other)] = lambda: tensor.detach().to(other)
    kind = rng.choice(list(kinds))
    return kind, kinds[kind]()


def _x(rng: random.Random, dtype: torch.dtype = torch.float32) -> SparseFeatureMaps:
    frames, seed = rng.randrange(1, 4), rng.getrandbits(30)
    return make_case(frames, 3, 4, 5, 0.8, dtype, rng.choice([0, 2]), seed=seed).x


def _changed(
    x: SparseFeatureMaps, rng: random.Random, sites: bool = True
) -> tuple[str, SparseFeatureMaps]:
    """Return maps whose sites or offsets were changed in place to what no maps have."""
    rows = int(x.offsets[-1])
    kinds = ["offset -1", "offset beyond", "first offset"]
    kinds += ["site -1", "site beyond"] if rows and sites else []
    ends = x.offsets.tolist()
    wide = [a for a, b in pairwise(ends) if b - a > 1]
    kinds += ["equal sites", "falling sites"] if wide and sites else []
    kind = rng.choice(kinds)
    if kind == "offset -1":
        x.offsets[-1] = -1
    elif kind == "offset beyond":
        x.offsets[-1] = x.sites.shape[0] + 1
    elif kind == "first offset":
        x.offsets[0] = 1 if rng.random() < 0.5 else -1
    elif kind == "site -1":
        x.sites[0] = -1
    elif kind == "site beyond":
        x.sites[rows - 1] = 20
    elif kind == "equal sites":
        x.sites[wide[0] + 1] = x.sites[wide[0]]
    else:
        x.sites[wide[0]], x.sites[wide[0] + 1] = 19, 0
    return f"x with {kind}", x


def _arguments(name: str, rng: random.Random) -> dict[str, Any]:
    """Return valid arguments of an op, by name."""
    dtype = rng.choice(_FLOATS)
    x = _x(rng, dtype)
    wide = torch.promote_types(dtype, torch.float32)
    one = torch.ones

    def norm(channels: int) -> dict[str, Any]:
        return {
            **{at: one(channels, dtype=dtype) for at in ("running_mean", "running_var")},
            **{at: one(channels, dtype=dtype) for at in ("weight", "bias")},
            "training": rng.random() < 0.5,
            "momentum": 0.1,
            "eps": 1e-5,
        }

    attention = {
        "map_weight": one(4, 3, dtype=dtype),
        "map_bias": one(4, dtype=dtype),
        "query_weight": one(4, 6, dtype=dtype),
        "score_weight": one(1, 4, dtype=dtype),
        "score_bias": one(1, dtype=dtype),
    }
    asked = {"x": x, "query": one(x.frames, 6, dtype=dtype), "lengths": None}
    if rng.random() < 0.5:
        asked["lengths"] = torch.ones(x.frames, dtype=torch.int64)
    chosen = {"p": 0.5, "selection": "weighted"}
    if name == "subm_conv2d":
        return {"x": x, "weight": one(5, 3, 3, 3, dtype=dtype), "bias": one(5, dtype=dtype)}
    if name == "sparse_batch_norm":
        return {"x": x, **norm(3), "relu": False}
    if name == "cross_modal_score":
        return {**asked, **attention}
    if name == "top_p_select":
        return {"x": x, "logits": one(x.features.shape[0], dtype=wide), **chosen}
    if name == "sparse_max_pool2d":
        return {"x": x}
    if name == "top_p_mask":
        return {"logits": one(3, 5, dtype=dtype), "p": 0.5}
    stages = tuple((one(5, cin, 3, 3, dtype=dtype), NormParameters(**norm(5))) for cin in (3, 5))
    return {**asked, "attention": AttentionParameters(**attention), "stages": stages, **chosen}


_OPS = (
    "subm_conv2d",
    "sparse_batch_norm",
    "cross_modal_score",
    "top_p_select",
    "top_p_mask",
    "sparse_max_pool2d",
    "sparse_cross_modal_block",
    "sparse_cross_modal_block",
)


def _op(rng: random.Random) -> tuple[str, Callable[[], object]]:
    name = rng.choice(_OPS)
    given = _arguments(name, rng)
    at = rng.choice(list(given))
    kind, given[at] = _spoiled(at, given, rng)
    function = getattr(mesm_ops, name)
    backend = rng.choice(["auto", "reference"])

    def call() -> object:
        with mesm_ops.use_backend(backend):
            return function(**given)

    return f"{name} on {backend} with {at} {kind}", call


def _spoiled(at: str, given: Mapping[str, Any], rng: random.Random) -> tuple[str, Any]:
    value = given[at]
    if at == "x":
        if rng.random() < 0.6:
            reads = not {"eps", "logits", "map_weight"} & set(given)  # else no site is read
            return _changed(value, rng, sites=reads)
        wrong = rng.choice([*_OBJECTS, value.features, value.to_dense()])
        return _said(wrong), wrong
    if at == "bias" and "logits" not in given and "eps" not in given:
        kind, wrong = _spoiled_tensor(value, rng)
        return (kind, wrong) if wrong is not None else ("a string", "x")
    if len(given) == 2 and at == "logits":  # those of top_p_mask, which takes any shape and dtype
        fitting = (*_FLOATS, "longer", "on meta")
        while (found := _spoiled_tensor(value, rng))[0] in map(str, fitting):
            pass
        return found
    if at == "lengths":
        return _wrong_lengths(given["x"].frames, rng)
    if at in ("attention", "stages"):
        return _wrong_parameters(value, rng)
    if at in ("p", "eps", "momentum"):
        wrong = rng.choice([*_NUMBERS, *{"p": [0, 1.5], "momentum": [1.5], "eps": []}[at]])
        return _said(wrong), wrong
    if at in ("training", "relu"):
        wrong = rng.choice(_FLAGS)
        return _said(wrong), wrong
    if at == "selection":
        wrong = rng.choice([*_OBJECTS, "soft", ["hard"], True])
        return _said(wrong), wrong
    if at == "running_var" and rng.random() < 0.4:
        if rng.random() < 0.5:
            return "negative", -value
        return "running_mean", given["running_mean"]
    kind, wrong = _spoiled_tensor(value, rng)
    if "eps" in given and kind == str(torch.float32):  # which a norm takes beside narrow features
        return "no tensor", None
    return kind, wrong


def _said(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {value.dtype}"
    return "an object" if type(value) is object else repr(value)


def _wrong_lengths(frames: int, rng: random.Random) -> tuple[str, Any]:
    wrong = rng.choice(
        [
            *("x", [frames], 3, {}),
            torch.ones(frames),
            torch.ones(frames, dtype=torch.bool),
            torch.ones(frames, dtype=torch.int16),
            torch.ones(frames, 1, dtype=torch.int64),
            torch.ones(frames + 1, dtype=torch.int64),
            torch.tensor([frames + 1] + [0] * (frames - 1)),
            torch.tensor([frames + 1, -1] + [0] * (frames - 2)),
            torch.ones(frames, dtype=torch.int64, device="meta"),
        ]
    )
    return _said(wrong), wrong


def _wrong_parameters(value: tuple[Any, ...], rng: random.Random) -> tuple[str, Any]:
    """Spoil the attention's parameters, or the stages."""
    if rng.random() < 0.4:
        wrong = rng.choice([*_OBJECTS, value[:-1], value[:1], (*value, value[0]), ()])
        return f"{type(wrong).__name__} of another count", wrong
    at = rng.randrange(len(value))
    if isinstance(value, AttentionParameters):
        kind, tensor = _spoiled_tensor(value[at], rng)
        return f"with {value._fields[at]} {kind}", value._replace(**{value._fields[at]: tensor})
    weight, norm = value[at]
    if rng.random() < 0.3:
        kind, wrong = _spoiled_tensor(weight, rng)
        stage: Any = (wrong, norm)
    elif rng.random() < 0.2:
        kind, stage = "of another kind", rng.choice([weight, norm, None, (norm, weight), (norm,)])
    else:
        field = rng.choice(norm._fields)
        kind, wrong = _spoiled(field, norm._asdict(), rng)
        kind, stage = f"{field} {kind}", (weight, norm._replace(**{field: wrong}))
    stages = (*value[:at], stage, *value[at + 1 :])
    return f"stage {at}: {kind}", stages


def _maps(rng: random.Random) -> tuple[str, Callable[[], object]]:
    x = _x(rng)
    given: dict[str, Any] = {
        at: getattr(x, at) for at in ("features", "sites", "offsets", "height", "width")
    }
    at = rng.choice(list(given))
    if at in ("height", "width"):
        wrong: Any = rng.choice([*_SIZES, 2**40, float("inf")])
        kind = _said(wrong)
    elif at == "features":
        kind, wrong = _spoiled_tensor(x.features, rng)
        while (
            isinstance(wrong, Tensor)
            and wrong.dtype in _FLOATS
            and wrong.shape == x.features.shape
            and wrong.layout is torch.strided
            and not wrong.is_meta
        ):
            kind, wrong = _spoiled_tensor(x.features, rng)
    else:
        kind, wrong = _spoiled_tensor(given[at], rng)
    given[at] = wrong
    return f"SparseFeatureMaps with {at} {kind}", lambda: SparseFeatureMaps(**given)


def _from_dense(rng: random.Random) -> tuple[str, Callable[[], object]]:
    maps, mask = torch.ones(2, 3, 4, 5), torch.ones(2, 4, 5, dtype=torch.bool)
    if rng.random() < 0.5:
        given: tuple[Any, Any] = (
            maps,
            rng.choice([*_OBJECTS[1:], mask.int(), mask[0], mask.to("meta")]),
        )
    else:
        kinds = [*_OBJECTS, maps[0], maps.int(), maps.to(torch.complex64), maps[:, :, :0]]
        given = (rng.choice([*kinds, maps[..., :0], maps.to(torch.float8_e5m2)]), None)
    return (
        f"SparseFeatureMaps.from_dense with {_said(given[0])}, {_said(given[1])}",
        lambda: SparseFeatureMaps.from_dense(*given),
    )


def _methods(rng: random.Random) -> tuple[str, Callable[[], object]]:
    x = _x(rng)
    if rng.random() < 0.5:
        kind, x = _changed(x, rng)
        name = rng.choice(["to_dense", "mask"])
        return f"SparseFeatureMaps.{name} of {kind}", getattr(x, name)
    kind, wrong = _spoiled_tensor(x.features, rng)
    if isinstance(wrong, Tensor) and wrong.dtype in _FLOATS and wrong.shape[:1] == x.sites.shape:
        kind, wrong = "nothing", None
    return f"SparseFeatureMaps.with_features with {kind}", lambda: x.with_features(wrong)


def _module(rng: random.Random) -> tuple[str, Callable[[], object]]:
    layers: dict[str, dict[str, Any]] = {
        "CrossModalAttention": {"in_channels": 3, "query_dim": 6, "attention_dim": 4, "p": 0.5},
        "SubmConv2d": {"in_channels": 3, "out_channels": 5, "bias": True},
        "SparseBatchNorm": {"num_features": 3, "eps": 1e-5, "momentum": 0.1, "relu": True},
        "SparseCrossModalBlock": {
            **{"in_channels": 3, "out_channels": 5, "query_dim": 6, "attention_dim": 4, "p": 0.5},
            "selection": "hard",
        },
    }
    name = rng.choice(list(layers))
    given = layers[name]
    at = rng.choice(list(given))
    if at in ("p", "eps", "momentum"):
        kinds = [one for one in _NUMBERS if at != "momentum" or one is not None]
    elif at in ("bias", "relu"):
        kinds = _FLAGS
    else:
        kinds = [*_OBJECTS[:4], "soft"] if at == "selection" else _SIZES
    given[at] = rng.choice(kinds)
    return f"{name} with {at} {_said(given[at])}", lambda: getattr(mesm_ops, name)(**given)


def _call(rng: random.Random) -> tuple[str, Callable[[], object]]:
    """A layer that is called on what is none of its input."""
    x = _x(rng)
    block = mesm_ops.SparseCrossModalBlock(3, 5, 6, 4)
    asked = torch.ones(x.frames, 6)
    calls: dict[str, Callable[[Any], object]] = {
        "SparseCrossModalBlock": lambda given: block(given, asked),
        "SparseCrossModalBlock.attend": lambda given: block.attend(given, asked),
        "SparseCrossModalBlock.convolve": block.convolve,
        "CrossModalAttention": lambda given: block.attention(given, asked, None),
        "SubmConv2d": block.conv1,
        "SparseBatchNorm": mesm_ops.SparseBatchNorm(3),
        "SparseMaxPool2d": block.pool,
    }
    if rng.random() < 0.2:
        name = rng.choice(["cppp", 3, None, ["cpp"]])
        if rng.random() < 0.5:
            return f"use_backend({name!r})", lambda: mesm_ops.use_backend(name)  # type: ignore[arg-type]
        return f"explain({name!r})", lambda: mesm_ops.explain(name)  # type: ignore[arg-type]
    name = rng.choice(list(calls))
    reads = "Attention" not in name and "attend" not in name and "Norm" not in name
    wrong = rng.choice([*_OBJECTS, x.features, _changed(x, rng, sites=reads)[1]])
    return f"{name} of {_said(wrong)}", lambda: calls[name](wrong)


def _transform(rng: random.Random) -> tuple[str, Callable[[], object]]:
    """A derivative that the ops do not have."""
    name = rng.choice([op for op in _OPS if op != "top_p_mask"])
    given = _arguments(name, rng)
    x = given["x"]

    def value(features: Tensor) -> Tensor:
        out = getattr(mesm_ops, name)(**{**given, "x": x.with_features(features)})
        return (out if isinstance(out, Tensor) else out.features).square().sum()

    def twice(features: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(value(features), features, create_graph=True)
        return torch.autograd.grad(gradient.sum(), features)[0]

    features = x.features.detach().nan_to_num(0)
    ways: dict[str, Callable[[], object]] = {
        "func.jvp": lambda: torch.func.jvp(value, (features,), (features,)),
        "func.grad": lambda: torch.func.grad(value)(features),
        "func.jacfwd": lambda: torch.func.jacfwd(value)(features),
        "func.hessian": lambda: torch.func.hessian(value)(features),
        "jit.trace": lambda: torch.jit.trace(value, features),
        "second order": lambda: twice(features.clone().requires_grad_()),
    }
    way = rng.choice(list(ways))
    return f"{way} through {name}", ways[way]
