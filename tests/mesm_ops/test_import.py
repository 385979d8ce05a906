from __future__ import annotations

import subprocess
import sys

TORCH_ALONE = """
import importlib.metadata, importlib.abc, re, sys

needs = {re.split(r"[^A-Za-z0-9_-]", r)[0] for r in importlib.metadata.requires("torch") or ()}
allowed = {"torch", "torchgen", "functorch", "mesm_ops", "mpmath", "markupsafe"}
allowed |= {name.replace("-", "_").lower() for name in needs} - {"triton"}
imported = set()

class Gate(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in allowed:
            return None
        imported.add(top)
        raise ModuleNotFoundError(f"blocked: {name}", name=name)

sys.meta_path.insert(0, Gate())
import torch.utils.flop_counter  # which itself takes triton where it finds it
imported.clear()
import mesm_ops
assert not imported, f"import mesm_ops imported {imported}"
block = mesm_ops.SparseCrossModalBlock(2, 3, 4, 5)
block(torch.randn(2, 2, 4, 4), torch.randn(2, 4)).to_dense().sum().backward()
assert not any(name == "mesm" or name.startswith("mesm.") for name in sys.modules)
print("done")
"""


def test_needs_torch_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TORCH_ALONE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "done", done.stderr
