"""Damaged prepared corpora and runs through the commands that read them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from mesm.runs.files import read_json
from tests.faults import damage
from tests.faults.base import TINY, Base
from tests.faults.damage import Damage
from tests.faults.judge import ended, not_finite, same
from tests.faults.outcome import Outcome
from tests.faults.process import run

Hurt = Callable[[Path, random.Random], Damage]


def _parquet(file: Path, rng: random.Random) -> Damage:
    return damage.bytes_of(file, rng, damage.NOTHING)


def weights(file: Path, rng: random.Random) -> Damage:
    """Damage weights such that it can be told: another number is as good a weight as the first."""
    import torch
    from safetensors.torch import load_file, save_file

    kind = rng.choice(("nan", "inf", "whole nan", "shape", "name", "bytes", "bytes"))
    if kind == "bytes":
        return damage.structure(file, rng)
    values = load_file(file)
    name = rng.choice([name for name, value in values.items() if value.is_floating_point()])
    if kind == "whole nan":
        values = {n: v * float("nan") if v.is_floating_point() else v for n, v in values.items()}
    elif kind == "shape":
        values[name] = torch.cat([values[name].flatten(), torch.zeros(3)])
    elif kind == "name":
        values[name + "x"] = values.pop(name)
    else:
        # The whole of one, as a diverged step leaves it.
        values[name] = torch.full_like(values[name], float(kind))
    save_file(values, file)
    return Damage(f"{file.parent.name}/{file.name}: {kind} in {name}")


MEDIA = (
    "evaluate run --fresh",
    "explain run",
    "sweep run --p 0.5",
    "train",
    "prepare",
    "evaluate run",
)
FEATURES = ("evaluate features_run --fresh", "features", "train lf_lstm")
PAGES = ("report page.html run", "table results run", "evaluate run", "table sweep run")
TARGETS: dict[str, tuple[Hurt, tuple[str, ...]]] = {
    "prep/data/*.parquet": (_parquet, MEDIA),
    "prep/features/*.parquet": (_parquet, FEATURES),
    "prep/manifest.json": (damage.json_value, (*MEDIA, "table splits prep", *PAGES)),
    "prep/features/features.json": (damage.json_value, FEATURES),
    "run/model.safetensors": (weights, ("evaluate run --fresh", "explain run", "train", *PAGES)),
    "run/config.json": (damage.json_value, ("evaluate run --fresh", "explain run", "train")),
    "run/config.yaml": (damage.structure, ("evaluate run --fresh", "train", *PAGES)),
    "run/corpus.json": (damage.json_value, ("evaluate run --fresh", "train", *PAGES)),
    "run/tokenizer.json": (damage.structure, ("evaluate run --fresh", "train")),
    "run/evaluation.json": (damage.json_value, PAGES),
    "run/sweep.json": (damage.json_value, ("report page.html run", "table sweep run")),
    "run/metrics.jsonl": (damage.json_value, ("report page.html run", "train")),
    "run/predictions/test.parquet": (_parquet, ("evaluate run", "evaluate run --against run")),
    "run/last/state.json": (damage.json_value, ("train on",)),
    "run/last/*.safetensors": (weights, ("train on",)),
}
_LONG = {
    "train": ["train", "miniature_mesm", "--run", "run", "corpus=prep", *TINY],
    "train on": ["train", "miniature_mesm", "--run", "run", "corpus=prep", *TINY],
    "train lf_lstm": [
        *("train", "miniature_lf_lstm", "--run", "new", "corpus=prep"),
        *("training.epochs=1", "training.patience=1"),
    ],
    "features": ["features", "prep", "--raw", "iemocap", "--workers", "1"],
    "prepare": ["prepare", "iemocap", "iemocap", "prep", "--min-face-size", "60", "--workers", "1"],
}


def held(base: Base, seed: int) -> Outcome:
    """One file of a prepared corpus or a run damaged, then a command that needs it."""
    rng = random.Random(f"held {seed}")
    pattern = rng.choice(list(TARGETS))
    hurt, commands = TARGETS[pattern]
    command = rng.choice(commands)
    needs = ["prep", "run", "features_run"]
    needs += ["iemocap"] if command in ("features", "prepare") else []
    with base.sandbox(*needs) as folder:
        file = rng.choice(sorted(folder.glob(pattern)))
        before = file.read_bytes()
        done = hurt(file, rng)
        unchanged = file.is_file() and file.read_bytes() == before
        result = run(_LONG.get(command) or command.split(), folder)
        what = f"{file.parent.name}/{done.what}"
        bad = ended(result)
        if bad is not None:
            return Outcome(bad.verdict, f"{what}: {bad.what}")
        for place in ("run", "features_run"):
            if file.parent == folder / place:
                continue
            if (problem := not_finite(folder / place)) and not unchanged:
                return Outcome("wrong", f"{what}: {result.line}: not finite: {problem}")
        if not unchanged and (problem := _other(base, folder, file, command)):
            return Outcome("wrong", f"{what}: {result.line}: {problem}")
        return Outcome("right", f"{what}: {result.line}")


def _other(base: Base, folder: Path, file: Path, command: str) -> str | None:
    """How the results of a command that ended well differ from those of undamaged files."""
    if command.startswith("evaluate"):
        name = command.split()[1]
        if file == folder / name / "evaluation.json" and not file.is_file():
            return "no scores were written"
        scores = read_json(folder / name / "evaluation.json")
        if not same(scores.get("test"), base.scores[name]["test"]):
            return "other scores than with undamaged files"
    if command in ("features", "prepare"):
        made = file.is_file() and file.read_bytes()
        if made != (base.folder / file.relative_to(folder)).read_bytes():
            return "it is still damaged"
    if command == "train" and file.name == "model.safetensors" and not file.is_file():
        return "there are no weights"
    if command == "train on" or (command == "train" and file.parent.name == "run"):
        same_weights = (folder / "run/model.safetensors").read_bytes()
        if same_weights != (base.folder / "run/model.safetensors").read_bytes():
            return "other weights than with undamaged files"
    return None
