"""Makes an op known to torch and to the backends: one call in each op's file."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils.flop_counter import register_flop_formula

from .. import backends, extension
from ..sparse_feature_maps import check_offsets, check_values
from .checks import check_variance
from .contract import Arguments, Contract, Results
from .direct import Op, autocast_to
from .schemas import CPU_ONLY, CUDA_ONLY

__all__ = ["define_op", "libraries"]

# Fragments must live as long as the module: a fragment's registrations die with the fragment.
libraries = {
    name: torch.library.Library(name, "FRAGMENT")
    for name in ("mesm_ops", "mesm_ops_cpp", "mesm_ops_cuda")
}
with contextlib.suppress(ValueError):  # of MESM_OPS_CPU, which the package's import tells
    extension.module()  # libmesm_ops defines its ops itself, and nobody can define an op twice


def _define(namespace: str, schema: str) -> None:
    """Define an op unless libmesm_ops did; refuse a library that was built of another schema."""
    name = schema.partition("(")[0]
    if not hasattr(getattr(torch.ops, namespace), name):
        libraries[namespace].define(schema)
        return
    known = getattr(getattr(torch.ops, namespace), name).default._schema
    if known != torch._C.parse_schema(f"{namespace}::{schema}"):
        raise ImportError(
            f"{namespace}::{name}: the compiled kernels are of another version of mesm_ops, with "
            f"{known}: {extension.BUILD_HINT}"
        )


for _schema in CPU_ONLY:
    _define("mesm_ops_cpp", _schema)
for _schema in CUDA_ONLY:
    _define("mesm_ops_cuda", _schema)
_CPP_DTYPES = (torch.float32, torch.bfloat16, torch.float64)
_CUDA_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def define_op(
    reference: Callable[[Arguments], Results],
    *,
    fake: Callable[[Arguments], Results],
    flops: Callable[[Arguments, Results], int] | None = None,
    check: Callable[[Arguments], None] | None = None,
    arguments: Callable[..., Arguments] | None = None,
    autocast: bool | tuple[str, ...] = False,
    triton: bool = False,
    cuda: bool = False,
) -> Op[Arguments, Results]:
    """Define `mesm_ops::<name>` and register all that torch needs of an op except the gradient.

    Name and schema follow from the reference's name and annotations. `mesm_ops_cpp` gets an op of
    the same name, for a shared library to implement, and so does `mesm_ops_cuda` with `cuda`. Where
    libmesm_ops is there, it has defined the first two already.

    Args:
        reference: The plain torch implementation, of one `NamedTuple`; `fake`, `flops` and `check`
            are given the same object.
        fake: Returns results of the right shapes and dtypes without values.
        flops: Returns the floating-point operations, given arguments and results. None: the op
            counts no FLOPs, as torch counts only products of matrices.
        check: Refuses values, on real tensors, before any kernel starts.
        arguments: Makes the op's arguments from those of its public function. None: the op has no
            public function.
        autocast: Cast floating-point inputs but float64 to the autocast dtype, as convolutions do;
            names: on a CPU cast those inputs alone, on a GPU the first of them, and leave the
            others to the op.
        triton: Whether `mesm_ops.triton.<stem>` has a launcher of the op's name.
        cuda: Whether the CUDA library has a kernel of the op's name.

    Returns:
        The op, ready to be called.
    """
    contract = Contract(reference)
    name = contract.signature.name
    _define("mesm_ops", contract.signature.schema)
    for namespace in ("mesm_ops_cpp", "mesm_ops_cuda") if cuda else ("mesm_ops_cpp",):
        _define(namespace, contract.signature.kernel_schema)
    backends.register(name, "reference", _checked(reference, contract))
    backends.register_compiled(
        name, "cpp", "cpu", _CPP_DTYPES, contract.compiled, extension.cpu_missing
    )
    if cuda:
        backends.register_compiled(
            name, "cuda", "cuda", _CUDA_DTYPES, contract.compiled, extension.cuda_missing
        )
    if triton:
        backends.register_triton(name, _CUDA_DTYPES)
    backends.register_arguments(name, arguments or contract.arguments)

    def run(*flat: Any) -> Any:
        if check is not None:
            check(contract.arguments(*flat))
        flat = tuple(v.contiguous() if isinstance(v, Tensor) else v for v in flat)
        return backends.run(name, contract.arguments(*flat))

    def counted(*flat: Any, out_val: Any = None, **_: Any) -> int:
        if flops is None:
            return 0
        return flops(contract.arguments(*flat), contract.results(out_val))

    library = libraries["mesm_ops"]
    with warnings.catch_warnings():
        # Programs without Python have libmesm_ops' own kernel, which this one replaces.
        warnings.filterwarnings("ignore", "Warning only once for all operators")
        library.impl(name, run, "CPU")
    library.impl(name, run, "CUDA")
    torch.library.register_fake(
        f"mesm_ops::{name}", lambda *flat: _flat(fake(contract.arguments(*flat))), lib=library
    )
    packet = getattr(torch.ops.mesm_ops, name)
    casts: dict[str, Collection[int]] = {"cpu": (), "cuda": ()}
    if autocast:
        chosen = autocast if isinstance(autocast, tuple) else contract.fields
        of_gpu = chosen[:1] if isinstance(autocast, tuple) else chosen
        for device, names in (("cpu", chosen), ("cuda", of_gpu)):
            casts[device] = {at for at, field in enumerate(contract.fields) if field in names}
            kernel = _autocast_kernel(packet.default, device, casts[device])
            library.impl(name, kernel, f"Autocast{device.upper()}")
    register_flop_formula(packet, get_raw=True)(counted)
    return Op(contract, packet.default, _CPP_DTYPES, check, casts)


def _checked(
    reference: Callable[[Arguments], Results], contract: Contract[Arguments, Results]
) -> Callable[[Arguments], Results]:
    """Check on a CPU the values that compiled kernels check themselves."""
    fields = contract.fields
    name = contract.signature.name.removesuffix("_backward")
    variances = [at for at, field in enumerate(fields) if field.startswith("running_var")]
    has_offsets = {"features", "offsets"} <= set(fields)
    has_sites = {"sites", "offsets", "height", "width"} <= set(fields)

    def run(a: Arguments) -> Results:
        given: Any = a
        if a[0].device.type == "cpu":
            if has_sites:
                check_values(name, given.sites, given.offsets, given.height, given.width)
            elif has_offsets:
                check_offsets(name, given.offsets, given.features.shape[0])
            for at in variances:
                check_variance(name, fields[at], a[at])
        return reference(a)

    return run if has_offsets or variances else reference


def _flat(results: Any) -> Any:
    return tuple(results) if isinstance(results, tuple) else results


def _autocast_kernel(
    overload: OpOverload, device: str, positions: Collection[int]
) -> Callable[..., Any]:
    def kernel(*flat: Any) -> Any:
        dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            return overload(
                *(
                    autocast_to(dtype, value) if i in positions else value
                    for i, value in enumerate(flat)
                )
            )

    return kernel
