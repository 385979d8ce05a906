from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from mesm.runs.extras import install

ROOT = Path(__file__).parents[3]
# Where torch alone is installed, each package of an extra is missing.
TORCH_ALONE = """
import importlib.metadata, re, sys

asked = [re.match("[A-Za-z0-9_.-]+", line)[0] for line in importlib.metadata.requires("mesm")]
names = {"pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}
for name in asked:
    if name != "torch":
        sys.modules[names.get(name.lower(), name.replace("-", "_"))] = None
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", TORCH_ALONE + program]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ('{"dir_info": {"editable": true}, "url": "file:///x"}', "pip install -e '.[web]'"),
        ('{"dir_info": {}, "url": "file:///x"}', "pip install 'mesm[web]'"),
        ('{"archive_info": {}, "url": "file:///x.whl"}', "pip install 'mesm[web]'"),
        (None, "pip install 'mesm[web]'"),
    ],
)
def test_the_command_fits_how_mesm_was_installed(
    told: str | None, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "mesm-9.dist-info"
    place.mkdir()
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: mesm\nVersion: 9\n")
    if told is not None:
        (place / "direct_url.json").write_text(told)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert metadata.version("mesm") == "9"
    assert install("web") == wanted


def test_in_a_source_folder_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    assert install("onnx") == "pip install -e '.[onnx]'"


@pytest.mark.parametrize("words", [["--help"], ["prepare", "iemocap", "raw", "out"]])
def test_with_torch_alone_the_command_says_one_line(words: list[str]) -> None:
    done = run(f"sys.argv = ['mesm', *{words}]; from mesm.__main__ import main; main()")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "mesm: the package typer is missing; install what the experiment needs: "
        f"{install('experiment')}\n"
    )


def test_with_torch_alone_it_imports_and_what_is_missing_is_said() -> None:
    done = run("import mesm, mesm_ops; print(mesm.__all__); mesm.Pipeline")
    assert done.returncode == 1
    assert done.stdout == "['Batch', 'Pipeline']\n"
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: mesm.Pipeline: the package ")
    assert last.endswith(f"is missing; install what the experiment needs: {install('experiment')}")
