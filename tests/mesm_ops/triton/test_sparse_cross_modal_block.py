from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map_only

from mesm_ops import (
    SparseCrossModalBlock,
    SparseFeatureMaps,
    backends,
    reference,
    use_backend,
)
from mesm_ops.ops.block_arguments import arguments_of_block
from mesm_ops.triton.parts.layout import book_layout, maps_layout
from tests.mesm_ops.block_passes import FORWARD, OWN, backward, forward, module
from tests.mesm_ops.block_passes import both_passes as run
from tests.mesm_ops.cases import make_case

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SCORE = torch.ops.mesm_ops.cross_modal_score
PARAMETERS = ("map_weight", "map_bias", "query_weight", "score_weight", "score_bias")
KEPT = ("attention", "y1", "y2", "argmax", "rulebook")


def arguments(
    x: SparseFeatureMaps,
    channels: int,
    lengths: list[int] | None,
    selection: str = "weighted",
    training: bool = True,
    trim: bool = False,
    keep: bool = True,
) -> reference.SparseCrossModalBlock:
    """The op's arguments, for a block of random parameters."""
    torch.manual_seed(0)
    dtype = x.dtype
    block = SparseCrossModalBlock(x.channels, channels, 5, 7, p=0.6, selection=selection)
    block.train(training)
    torch.nn.init.normal_(block.attention.score.weight)
    for norm in (block.norm1, block.norm2):
        torch.nn.init.normal_(norm.running_mean, std=0.3)
        torch.nn.init.uniform_(norm.running_var, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, std=0.3)
        torch.nn.init.normal_(norm.weight)  # of both signs
    for part in (block.attention, block.conv1, block.conv2):
        part.to(dtype)
    query = torch.randn(x.frames if lengths is None else len(lengths), 5).to(dtype)
    stages = tuple(
        (conv.weight, norm.parameter_tuple(x))
        for conv, norm in ((block.conv1, block.norm1), (block.conv2, block.norm2))
    )
    given = None if lengths is None else torch.tensor(lengths)
    a = arguments_of_block(
        x, query, given, block.attention.parameter_tuple(), stages, 0.6, selection
    )
    a = tree_map_only(Tensor, lambda tensor: tensor.detach().to(DEVICE), a)
    return a._replace(trim=trim, keep=keep)


def maps(
    frames: int, channels: int, height: int, width: int, density: float, dtype: torch.dtype
) -> SparseFeatureMaps:
    return make_case(frames, channels, height, width, density, dtype, padding=5).x


def gradient(x: SparseFeatureMaps, channels: int) -> Tensor:
    rows = min(x.features.shape[0], x.frames * (x.height // 2) * (x.width // 2))
    grad = torch.randn(rows, channels, generator=torch.Generator().manual_seed(2))
    return grad.to(x.dtype).to(DEVICE)


def assert_same(got: dict[str, Tensor], wanted: dict[str, Tensor], least: float = 1e-3) -> None:
    """Compare float32 results: the same sums in another order, of terms of at least that size."""
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        if name in OWN:
            continue
        # A sum over rows is compared with its largest entry; the gradient of the score's bias,
        # which the softmax makes zero, with that of its weight.
        scale = wanted["grad of score_weight"] if name == "grad of score_bias" else tensor
        largest = float(scale.double().abs().max()) if scale.numel() else 0.0
        atol = 2e-5 * max(largest, least) if tensor.is_floating_point() else 0
        torch.testing.assert_close(
            got[name], tensor, rtol=2e-5, atol=atol, msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("selection", ["weighted", "hard", "straight_through"])
@pytest.mark.parametrize(
    ("shape", "density", "channels", "lengths"),
    [
        ((3, 6, 7, 9), 0.5, 10, [1, 0, 2]),  # odd sizes, a sample without frames
        ((2, 17, 4, 4), 1.0, 33, None),  # all sites
    ],
)
def test_equals_the_reference(
    shape: tuple[int, int, int, int],
    density: float,
    channels: int,
    lengths: list[int] | None,
    selection: str,
    training: bool,
) -> None:
    x = maps(*shape, density, torch.float32)
    args, grad = arguments(x, channels, lengths, selection, training), gradient(x, channels)
    assert_same(run("triton", args, grad), run("reference", args, grad))


@pytest.mark.parametrize("needs", [(True, False), (False, True), (False, False)])
def test_weights_that_need_no_gradient_get_none(needs: tuple[bool, bool]) -> None:
    x = maps(2, 4, 4, 4, 0.6, torch.float32)
    args, grad = arguments(x, 6, None), gradient(x, 6)
    every, found = run("triton", args, grad), run("triton", args, grad, needs)
    for name, needed in zip(("grad of weight1", "grad of weight2"), needs, strict=True):
        if not needed:
            assert found.pop(name).shape == (0,)
            del every[name]
    for name, tensor in found.items():
        if name not in OWN:
            assert torch.equal(tensor, every[name]), name


@pytest.mark.parametrize("trim", [True, False])
def test_inference_keeps_nothing(trim: bool) -> None:
    x = maps(3, 6, 5, 4, 0.6, torch.float32)
    args = arguments(x, 8, [2, 1], training=False, trim=trim, keep=False)
    got = run("triton", args, None)
    assert_same(got, run("reference", args, None))
    assert all(got[name].numel() == 0 for name in KEPT)


@pytest.mark.parametrize(
    ("frames", "density"), [(3, 0.0), (3, 0.04), (0, 0.5)]
)  # frames without sites, of one site, and none
def test_few_sites_or_none(frames: int, density: float) -> None:
    x = maps(frames, 3, 5, 5, density, torch.float32)
    args, grad = arguments(x, 4, None), gradient(x, 4)
    # Normalised over so few rows, gradients of about 1 cancel to almost nothing.
    assert_same(run("triton", args, grad), run("reference", args, grad), least=1.0)


def test_padding_and_nan() -> None:
    """NaN in padding rows is not seen; one in an active row spreads as in the reference."""
    x = maps(2, 4, 6, 6, 0.7, torch.float32)
    args, grad = arguments(x, 6, [2], training=False), gradient(x, 6)
    got = run("triton", args, grad)
    rows = int(got["kept_offsets"][-1])
    assert rows < x.features.shape[0] - 5
    for name in ("features", "grad of features"):
        assert got[name].isfinite().all(), name
    assert not got["features"][int(got["offsets"][-1]) :].any()
    assert not got["grad of features"][int(x.offsets[-1]) :].any()

    args = args._replace(features=args.features.clone())
    args.features[3, 1] = torch.nan
    wanted, got = (run(backend, args, None) for backend in ("reference", "triton"))
    assert wanted["features"].isnan().any()
    for name in ("features", "sites", "offsets", "rows"):
        torch.testing.assert_close(
            got[name], wanted[name], rtol=1e-4, atol=1e-5, equal_nan=True, msg=name
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("training", [True, False])
def test_low_precision_errs_as_the_reference(dtype: torch.dtype, training: bool) -> None:
    x = maps(3, 16, 6, 7, 0.6, dtype)
    args, grad = arguments(x, 24, [1, 2], training=training), gradient(x, 24)
    # Weights in float32, as under autocast.
    args = args._replace(weight1=args.weight1.float(), weight2=args.weight2.float())
    wide = tree_map_only(Tensor, lambda t: t.float() if t.is_floating_point() else t, args)
    exact = run("reference", wide, grad.float())
    wanted, got = run("reference", args, grad), run("triton", args, grad)
    if not torch.equal(exact["rows"], wanted["rows"]):
        pytest.fail("choose another seed: rounding changed which sites are kept")
    for name in ("sites", "offsets", "rows", "kept_offsets"):
        assert torch.equal(got[name], wanted[name]), name
    for name, tensor in exact.items():
        if name in OWN:
            continue
        assert got[name].dtype == wanted[name].dtype, name
        if not tensor.is_floating_point() or "score_bias" in name:
            continue
        # As for other kernels of low precision: at most twice the error of the replaced ops.
        error, allowed = ((f[name].float() - tensor).norm() for f in (got, wanted))
        assert error <= 2 * allowed + 1e-2 * tensor.norm(), name


def test_attends_as_the_score_and_the_selection_do() -> None:
    """Under autocast a GPU's block is given parameters of float32, the score's op rounded ones."""
    x = make_case(4, 16, 16, 16, 0.9, torch.bfloat16, padding=3).x
    args = arguments(x, 10, [1, 0, 3])
    given = {name: getattr(args, name) for name in ("query", *PARAMETERS)}
    wide = {name: 0.3 * torch.randn(t.shape).to(DEVICE) for name, t in given.items()}

    def attend(features: Tensor, of: dict[str, Tensor]) -> reference.TopPSelectResult:
        query, *parameters = of.values()
        with use_backend("triton"), torch.no_grad():
            logits = SCORE(features, args.offsets, query, args.lengths, *parameters)
        maps = (args.features, args.sites, args.offsets)
        return reference.top_p_select(
            reference.TopPSelect(*maps, logits, 0.6, args.selection, True)
        )

    rounded = attend(args.features, {name: tensor.to(x.dtype) for name, tensor in wide.items()})
    number, rows = int(rounded.offsets[-1]), int(x.offsets[-1])
    for training in (True, False):
        kept = args._replace(**wide, training=training, keep=training)
        with use_backend("triton"), torch.no_grad():
            whole = reference.SparseCrossModalBlockResult(*FORWARD(*kept))
        assert torch.equal(whole.kept_offsets, rounded.offsets)
        assert torch.equal(whole.rows[:number], rounded.rows[:number])
        if training:
            # Softmaxes of the same logits, in another order of their sums.
            torch.testing.assert_close(
                whole.attention[:rows], rounded.attention[:rows], rtol=1e-5, atol=0
            )
    # A parameter that is not rounded would be seen.
    for name in wide:
        if name == "score_bias":  # the softmax does not see it
            continue
        mixed = {other: t.to(x.dtype).float() for other, t in wide.items()} | {name: wide[name]}
        others = attend(args.features.float(), mixed).attention[:rows]
        assert ((others / rounded.attention[:rows] - 1).abs() > 1e-4).any(), name


@pytest.mark.parametrize("others", ["reference", *(["cpp"] if DEVICE == "cpu" else [])])
@pytest.mark.parametrize("training", [True, False])
def test_passes_on_two_backends_are_refused(others: str, training: bool) -> None:
    """Each backend keeps other tensors for the backward pass."""
    x = maps(3, 6, 7, 9, 0.5, torch.float32)
    args, grad = arguments(x, 10, [1, 2], training=training), gradient(x, 10)
    assert backends.refusal("sparse_cross_modal_block", others, args) is None
    kept = {backend: forward(backend, args) for backend in ("triton", others)}
    mend = "They ran on different backends: put `use_backend` around both passes"
    for first, second in (("triton", others), (others, "triton")):
        with pytest.raises(RuntimeError, match=rf"^sparse_cross_modal_block: .*{mend}"):
            backward(second, args, kept[first], grad)
        backward(second, args, kept[second], grad)


@pytest.mark.parametrize(
    "changes",
    [
        {"y1": lambda t: t[:-1]},
        {"y1": lambda t: torch.cat([t, t[:1]])},
        {"rulebook": lambda t: t[:-1]},
        {"argmax": lambda t: t.int()},
    ],
)
def test_what_triton_did_not_keep_is_refused(changes: dict[str, Any]) -> None:
    x = maps(2, 4, 5, 6, 0.7, torch.float32)
    args, grad = arguments(x, 6, None), gradient(x, 6)
    kept = forward("triton", args)
    kept = kept._replace(**{name: change(getattr(kept, name)) for name, change in changes.items()})
    with pytest.raises(RuntimeError, match="cannot read what the forward pass kept"):
        backward("triton", args, kept, grad)


@pytest.mark.parametrize("compiled_on", ["triton", "reference"])
def test_a_compiled_block_keeps_what_its_backend_keeps(compiled_on: str) -> None:
    x = maps(3, 6, 7, 9, 0.5, torch.float32)
    block = SparseCrossModalBlock(6, 10, 5, 4, p=0.6).to(DEVICE)
    on_device = torch.utils._pytree.tree_map(lambda t: t.to(DEVICE), x)
    given = (on_device, torch.randn(2, 5).to(DEVICE), torch.tensor([1, 2]).to(DEVICE))
    torch._dynamo.reset()
    runner = torch.compile(block, fullgraph=True, backend="aot_eager")
    found = []
    for run_it in (block, runner):
        block.zero_grad()
        with use_backend(compiled_on):
            out = run_it(*given)
            out.to_dense().square().sum().backward()
        found.append([out.to_dense().detach(), *(p.grad.clone() for p in block.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    with use_backend("reference" if compiled_on == "triton" else "triton"):
        out = runner(*given)
    with use_backend(compiled_on), pytest.raises(RuntimeError, match="different backends"):
        out.to_dense().square().sum().backward()


def test_two_runs_agree_bit_for_bit() -> None:
    x = maps(3, 6, 7, 9, 0.5, torch.float32)
    args, grad = arguments(x, 10, [1, 2]), gradient(x, 10)
    first, second = (run("triton", args, grad) for _ in range(2))
    for name, tensor in first.items():
        if name not in OWN:  # the padding between these results' parts is undefined
            assert torch.equal(second[name], tensor), name


def test_the_module_learns() -> None:
    """Autograd, the running statistics and autocast around the op."""
    x = maps(3, 6, 7, 9, 0.5, torch.float32)
    found = {}
    for backend in ("reference", "triton"):
        torch.manual_seed(0)
        block = SparseCrossModalBlock(6, 10, 5, 4, p=0.6).to(DEVICE)
        torch.nn.init.normal_(block.attention.score.weight)
        on_device = torch.utils._pytree.tree_map(lambda t: t.to(DEVICE), x)
        with use_backend(backend):
            out = block(on_device, torch.randn(2, 5).to(DEVICE), torch.tensor([1, 2]).to(DEVICE))
            out.features.square().sum().backward()
        named = {f"grad of {n}": p.grad for n, p in block.named_parameters()}
        found[backend] = named | dict(block.named_buffers()) | {"out": out.features.detach()}
    for name, tensor in found["reference"].items():
        if "score.bias" in name:  # nothing but rounding
            continue
        atol = 2e-5 * max(float(tensor.abs().max()), 1e-3)
        torch.testing.assert_close(found["triton"][name], tensor, rtol=2e-5, atol=atol, msg=name)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("keep", [True, False])
def test_the_fake_has_room_for_what_triton_keeps(device: str, keep: bool) -> None:
    x = maps(2, 4, 5, 6, 0.7, torch.float32)
    args = arguments(x, 6, None, training=False, keep=keep)
    with FakeTensorMode(allow_non_fake_inputs=True):
        fakes = tree_map_only(
            Tensor, lambda t: torch.empty(t.shape, dtype=t.dtype, device=device), args
        )
        found = module._fake(fakes)
    kept = run("triton", args, None)
    if keep and device == "cuda":
        for name in KEPT:
            assert getattr(found, name).shape == kept[name].shape, name
            assert getattr(found, name).dtype == kept[name].dtype, name
        assert found.y1.shape == (maps_layout(args).size,)
        assert found.rulebook.shape == (book_layout(args, len(kept["features"])).size,)
    else:
        assert found.rulebook.shape == (0,)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("frames", "padding"), [(0, 0), (0, 3), (2, 0)])
def test_the_fake_knows_what_triton_keeps_of_no_sites(
    frames: int, padding: int, training: bool
) -> None:
    x = make_case(frames, 4, 5, 6, 0.0, torch.float32, padding).x
    args = arguments(x, 6, None, training=training)
    with FakeTensorMode(allow_non_fake_inputs=True):
        fakes = tree_map_only(
            Tensor, lambda t: torch.empty(t.shape, dtype=t.dtype, device="cuda"), args
        )
        wanted = module._fake(fakes)
    found = run("triton", args, torch.zeros(0, 6))
    for name, fake in wanted._asdict().items():
        assert (found[name].shape, found[name].dtype) == (fake.shape, fake.dtype), name
    others = run("reference", args, torch.zeros(0, 6))
    for name, tensor in others.items():
        if name not in OWN:
            torch.testing.assert_close(found[name], tensor, equal_nan=True, msg=name)


@pytest.mark.parametrize("triton", [True, False])
@pytest.mark.parametrize("device", ["cpu", "cuda", "meta"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_one_op_where_kernels_take_it(
    monkeypatch: pytest.MonkeyPatch, device: str, dtype: torch.dtype, triton: bool
) -> None:
    monkeypatch.setattr(module.backends, "available", lambda *_: None if triton else "it cannot")
    x: Any = SimpleNamespace(device=torch.device(device), dtype=dtype)
    kernels = device == "cuda" and triton and dtype == torch.float32
    assert module._is_one_op(x) == (device == "cpu" or kernels)


@pytest.mark.parametrize("training", [True, False])
def test_the_last_backward_pass_takes_saved_memory(
    training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pass that frees the graph writes into what was saved, and finds the same gradients."""
    launcher, spent = importlib.import_module("mesm_ops.triton.sparse_cross_modal_block"), []
    is_spent = launcher._is_spent
    monkeypatch.setattr(launcher, "_is_spent", lambda: spent.append(is_spent()) or spent[-1])
    x = maps(3, 20, 7, 6, 0.6, torch.float32)
    torch.manual_seed(0)
    block = SparseCrossModalBlock(20, 34, 5, 7, p=0.6).train(training).to(DEVICE)
    features = x.features.nan_to_num().to(DEVICE).requires_grad_()
    place = SparseFeatureMaps(features, *(t.to(DEVICE) for t in (x.sites, x.offsets)), 7, 6)
    leaves = (features, *block.parameters())
    query = torch.randn(3, 5, device=DEVICE)
    with use_backend("triton"):
        out = block(place, query).features
        grad = torch.randn_like(out)
        passes = [
            torch.autograd.grad(out, leaves, grad, retain_graph=retained)
            for retained in (True, True, False)
        ]
    assert spent == [False, False, True]
    for first, second, last in zip(*passes, strict=True):
        assert torch.equal(first, second)
        assert torch.equal(first, last)
