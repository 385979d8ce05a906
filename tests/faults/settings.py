"""Settings and command lines at and beyond their bounds, in process and as whole commands."""

from __future__ import annotations

import math
import random
from typing import Any, get_args

from tests.faults.base import TINY, Base, scratch
from tests.faults.judge import ended, not_finite, stray
from tests.faults.outcome import Outcome, one_line
from tests.faults.process import run

# YAML texts that are no number for a strict reader, whatever YAML 1.1 makes of them.
NO_NUMBER = (
    *("true", "yes", "on", "False", "0o17", "010", "1:30", "190:20:30", ".nan", ".inf", "-.inf"),
    *("nan", "inf", "[3]", "[]", "{}", "{a: 1}", "2026-01-01", "''", "x", "!!float nan", "0x"),
    *("1e999", "-1e999", "'3x'", "[" * 3000, "9" * 5000, "!!python/object:os.system x", "&a [*a]"),
)
# YAML text, its whole number or None where a whole-number setting cannot have it, its float.
NUMBERS: tuple[tuple[str, int | None, float], ...] = (
    ("1", 1, 1.0),
    ("2", 2, 2.0),
    ("0", 0, 0.0),
    ("-1", -1, -1.0),
    ("0.5", None, 0.5),
    ("1.5", None, 1.5),
    ("1e-3", None, 0.001),
    ("1.0e-3", None, 0.001),
    ("100000", 100000, 100000.0),
)


def _leaves(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted name to annotation of every setting."""
    found: dict[str, Any] = {}
    for name, field in settings.model_fields.items():
        kind = field.annotation
        if hasattr(kind, "model_fields"):
            found |= _leaves(kind, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = kind
    return found


def _numeric(whole: bool) -> list[str]:
    """Settings of the systems that are numbers, and of MESM and the training."""
    from mesm.config.end_to_end import MESMSettings
    from mesm.config.experiment import TrainingSettings

    leaves = {f"model.{k}": v for k, v in _leaves(MESMSettings).items()}
    leaves |= {f"training.{k}": v for k, v in _leaves(TrainingSettings).items()}
    wanted = int if whole else float

    def is_wanted(kind: Any) -> bool:
        if kind is wanted:
            return True
        # Positive and the like, annotated; a number that may be none.
        return any(is_wanted(part) for part in get_args(kind)[:1]) and kind is not bool

    return sorted(
        key
        for key, kind in leaves.items()
        if is_wanted(kind) and not str(kind).startswith("list") and key != "model.p"
    )


def config(base: Base, seed: int) -> Outcome:
    """A number in a config file or an override, read strictly or refused."""
    from mesm.config.files import dump_config, load_config

    rng = random.Random(f"config {seed}")
    kind = rng.choice(("no number", "no number", "number", "number", "twice", "unknown", "bytes"))
    whole = rng.random() < 0.5
    key = rng.choice(_numeric(whole))
    name = key.rpartition(".")[2]
    expected: Any = None
    text = "1"
    if kind == "no number":
        text = rng.choice(NO_NUMBER)
    elif kind == "number":
        text, as_whole, as_float = rng.choice(NUMBERS)
        expected = as_whole if whole else as_float
    file = scratch() / "c.yaml"
    override = rng.random() < 0.5 and kind in ("no number", "number")
    overrides = [f"{key}={text}"] if override else []
    lines = ["corpus: prep", "model:", "  name: mesm", "training:", "  seed: 0"]
    if not override:
        lines = _with(lines, key, text, twice=kind == "twice")
    if kind == "unknown":
        lines.append(rng.choice(("x: 1", "corpus2: a", "? [a, b]\n: c", "1: 2", "null: 3")))
    data = "\n".join(lines).encode()
    if kind == "bytes":
        data = rng.choice((
            data.decode().encode("utf-16"),
            data + b"\n# \xe9",
            rng.randbytes(50),
            b"",
            data.replace(b":", b""),
            data + b"\n\t- x",
            data + b"\n\x00",
        ))  # fmt: skip
    file.write_bytes(data)
    what = f"config {kind}: {key} {text[:30]!r} {'as override' if override else 'in a file'}"
    try:
        loaded = load_config(file, overrides)
    except (ValueError, OSError) as error:
        said = str(error)
        named = "c.yaml" in said or key in said or name in said
        if not named or len(said) > 1500 or "pydantic" in said:
            return Outcome("traceback", f"{what}: {one_line(said)}")
        return Outcome("refused", f"{what}: {one_line(said)}")
    except Exception as error:
        return Outcome("traceback", f"{what}: {type(error).__name__}: {one_line(str(error))}")
    value: Any = loaded
    for part in key.split("."):
        value = getattr(value, part)
    if kind in ("no number", "twice", "unknown"):
        return Outcome("wrong", f"{what}: taken as {value!r}")
    if kind == "number" and (expected is None or value != expected):
        return Outcome("wrong", f"{what}: taken as {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        return Outcome("wrong", f"{what}: taken as {value!r}")
    file.write_text(dump_config(loaded))
    if load_config(file) != loaded:
        return Outcome("wrong", f"{what}: written and read it is another")
    return Outcome("right", what)


def _with(lines: list[str], key: str, text: str, *, twice: bool) -> list[str]:
    """The lines of a config with a setting, which may stand there twice."""
    *groups, name = key.split(".")
    own = [f"{'  ' * len(groups)}{name}: {value}" for value in ([text, "2"] if twice else [text])]
    if len(groups) == 2:
        own.insert(0, f"  {groups[1]}:")
    if name == "seed":
        lines = [line for line in lines if "seed" not in line]
    place = lines.index(f"{groups[0]}:") + 1
    return lines[:place] + own + lines[place:]


ODD = (
    "nan",
    "inf",
    "-1",
    "0",
    "1e99",
    "",
    "x",
    "-rf",
    "../..",
    "1e-7",
    "99999999999",
    "nowhere",
    "ü",
)
# A command, what it needs, and options whose value is made odd; * where an argument is.
LINES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("evaluate run", ("prep", "run"), ("--draws", "--threshold", "--f1", "--split")),
    ("evaluate run --draws 10", ("prep", "run"), ("--against", "--cluster")),
    ("sweep run", ("prep", "run"), ("--p", "--budget", "--baseline", "--split")),
    ("explain run", ("prep", "run"), ("--p", "--ground-truth", "*")),
    ("report page.html", ("prep", "run"), ("*",)),
    ("report", ("prep", "run"), ("*",)),
    ("table results run", ("prep", "run"), ("--out", "--group", "--split")),
    ("table runs run", ("prep", "run"), ("--by",)),
    ("table splits", ("prep",), ("*",)),
    ("miniature out", (), ("--clips", "--seed", "--layout")),
    ("prepare iemocap iemocap out", ("iemocap",), ("--workers", "--seed", "--min-face-size")),
    ("prepare iemocap iemocap out", ("iemocap",), ("--split", "--splits", "--device")),
    ("features prep --raw iemocap", ("iemocap", "prep"), ("--video-step", "--workers")),
    ("features prep --raw iemocap", ("iemocap", "prep"), ("--openface", "--glove", "--phonet")),
    ("train", ("prep",), ("*",)),
    ("evaluate", ("prep",), ("*",)),
    ("experiment", ("prep",), ("*",)),
)  # fmt: skip


def line(base: Base, seed: int) -> Outcome:
    """A command line with an option or an argument that makes no sense."""
    rng = random.Random(f"line {seed}")
    command, needs, options = rng.choice(LINES)
    option, value = rng.choice(options), rng.choice(ODD)
    if (option, value) == ("--clips", "99999999999"):
        value = "-5"
    arguments = command.split() + ([value] if option == "*" else [option, value])
    if command == "miniature out" and option != "--clips":
        arguments += ["--clips", "2"]
    with base.sandbox(*needs) as folder:
        result = run(arguments, folder)
        if (bad := ended(result)) is not None:
            return bad
        if problem := not_finite(folder):
            return Outcome("wrong", f"{result.line}: not finite: {problem}")
        if value in ("nan", "inf", "-1", "-rf") and option != "--out" and command[:6] != "report":
            return Outcome("wrong", f"{result.line}: taken")
        known = ("prep", "run", "iemocap", "out", "tables", "page.html", "experiments", "runs")
        if option == "*" and value == "../.." and (outside := stray(folder, known)):
            return Outcome("wrong", f"{result.line}: {outside}")
        return Outcome("right", result.line)


# Values that no training can use, or that none should fail on.
EXTREME = {
    "whole": ("0", "-1", "3", "15", "1000000000", "true", "2"),
    "float": ("0", "-1", ".inf", ".nan", "1e30", "1e-30", "1.0", "true"),
}


def training(base: Base, seed: int) -> Outcome:
    """A training with one setting at or beyond its bounds."""
    rng = random.Random(f"training {seed}")
    whole = rng.random() < 0.6
    key = rng.choice(_numeric(whole))
    value = rng.choice(EXTREME["whole" if whole else "float"])
    if value == "1000000000" and key in ("training.epochs", "training.patience"):
        value = "1"
    with base.sandbox("prep") as folder:
        arguments = ["train", "miniature_mesm", "--run", "out", "corpus=prep", *TINY]
        result = run([*arguments, f"{key}={value}"], folder)
        what = f"{key}={value}"
        if (bad := ended(result)) is not None:
            left = folder / "out"
            # Only an epoch tells of a loss that leaves all bounds.
            early = bad.verdict == "refused" and "loss" not in bad.what
            if early and left.exists():
                names = ", ".join(sorted(path.name for path in left.iterdir()))
                return Outcome("wrong", f"{what}: refused, but wrote {names}: {bad.what}")
            return Outcome(bad.verdict, f"{what}: {bad.what}")
        if problem := not_finite(folder / "out"):
            return Outcome("wrong", f"{what}: not finite: {problem}")
        if value in (".inf", ".nan", "true", "-1"):
            return Outcome("wrong", f"{what}: taken")
        return Outcome("right", what)
