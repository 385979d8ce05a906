import subprocess
import sys

import pytest

from mesm.features import sptk


def test_pkg_resources_is_left_as_it_was():
    script = (
        "import sys; from mesm.features.sptk import load_sptk; "
        "assert load_sptk() is load_sptk(); assert 'pkg_resources' not in sys.modules or "
        "sys.modules['pkg_resources'].__file__; print(load_sptk().__name__)"
    )
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("pysptk.sptk\n", "")


def test_its_absence_is_one_line(monkeypatch):
    sptk.load_sptk.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(sptk.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(FileNotFoundError, match=r"pysptk is missing.*\.\[features\].*compiler"):
            sptk.load_sptk()
    sptk.load_sptk.cache_clear()


@pytest.mark.parametrize("error", ["ImportError", "ValueError", "RuntimeError"])
def test_one_that_does_not_run_is_one_line(tmp_path, monkeypatch, error):
    (tmp_path / "pysptk").mkdir()
    (tmp_path / "pysptk" / "__init__.py").write_text(f"raise {error}('of another numpy\\nor so')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "pysptk"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    sptk.load_sptk.cache_clear()
    wanted = r"^pysptk does not run here \(of another numpy\); compile it anew with: [^\n]*pysptk$"
    with pytest.raises(FileNotFoundError, match=wanted):
        sptk.load_sptk()
    sptk.load_sptk.cache_clear()
