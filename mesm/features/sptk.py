"""pysptk, which has RAPT and the MFCCs that DisVoice takes."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from functools import cache
from types import ModuleType

from mesm.runs.extras import install


@cache
def load_sptk() -> ModuleType:
    """Import pysptk's functions.

    Raises:
        FileNotFoundError: pysptk is missing or does not run; says how to install it.
    """
    if importlib.util.find_spec("pysptk") is None:
        raise FileNotFoundError(
            "pysptk is missing, which audio features need; install it with: "
            f"{install('features')} (it is compiled: a C compiler and Python's headers are needed)"
        )
    # pysptk wants pkg_resources, which setuptools no longer has, for the path of an example only.
    stand_in = importlib.util.find_spec("pkg_resources") is None
    if stand_in:
        sys.modules["pkg_resources"] = ModuleType("pkg_resources")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pkg_resources, where it is, warns of its end
            from pysptk import sptk
    except (ImportError, ValueError, RuntimeError) as error:  # so numpy refuses another numpy's
        what = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FileNotFoundError(
            f"pysptk does not run here ({what}); compile it anew with: "
            "pip install --force-reinstall --no-deps --no-cache-dir pysptk"
        ) from error
    finally:
        if stand_in:
            del sys.modules["pkg_resources"]
    return sptk
