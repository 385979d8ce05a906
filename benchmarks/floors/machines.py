"""Rates of machines, and the least that something takes on them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """Rates as its maker states them, dense, without sparsity."""

    name: str
    bytes_per_second: float
    flops_per_second: dict[str, float]  # by dtype; float32 on tensor cores as tf32


MACHINES = (
    Machine("H100", 3.35e12, {"bfloat16": 990e12, "float16": 990e12, "tf32": 495e12}),
    Machine("H200", 4.8e12, {"bfloat16": 990e12, "float16": 990e12, "tf32": 495e12}),
    Machine("A100 80GB", 2.0e12, {"bfloat16": 312e12, "float16": 312e12, "tf32": 156e12}),
    # bfloat16 with float32 sums, as everywhere here.
    Machine("RTX 4090", 1.008e12, {"bfloat16": 165e12, "float16": 165e12, "tf32": 82.6e12}),
)


@dataclass(frozen=True)
class Cost:
    """The least that something moves and computes."""

    bytes: int
    flops: int = 0

    def floor_us(self, machine: Machine, dtype: str) -> float:
        """Microseconds at the machine's stated rates, launches left out.

        Args:
            machine: whose rates.
            dtype: of the products; float32 runs as tf32.
        """
        rate = machine.flops_per_second["tf32" if dtype == "float32" else dtype]
        return max(self.bytes / machine.bytes_per_second, self.flops / rate) * 1e6
