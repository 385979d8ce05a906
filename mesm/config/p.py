"""p of MESM in all its forms: one for all blocks, one per block, or per modality and block.

Also the names of the selections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from mesm.config.modalities import ATTENDED

# The forms of p in a config: 0.5; [0.7, 0.5, 0.5]; {"face": [0.7, 0.5, 0.5], "audio": 0.5}.
BlockP = float | list[float] | dict[str, float | list[float]]

# Selections: how features leave the attention, and whether the attention learns.
Selection = Literal["weighted", "hard", "straight_through"]

BLOCKS = 3
MODALITIES = tuple(modality.media for modality in ATTENDED)


def read_p(value: object, modalities: Sequence[str] = ()) -> BlockP:
    """Check a p and return it as plain numbers in the form that it came in.

    Args:
        value: a number, three of them (one per block), or a mapping of "face" and "audio" to
            either.
        modalities: which of "face" and "audio" a mapping must name.

    Raises:
        ValueError: another form, or a number outside (0, 1]; says what was wanted and what came.
    """
    if not isinstance(value, Mapping):
        return _read_blocks(value)
    if not value or not set(value) <= set(MODALITIES):
        raise ValueError(f"p per modality must name face and audio, got {dict(value)}")
    missing = [name for name in modalities if name not in value]
    if missing:
        raise ValueError(f"p has none for {' and '.join(missing)}, got {dict(value)}")
    return {str(name): _read_blocks(blocks) for name, blocks in value.items()}


def _read_blocks(value: object) -> float | list[float]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != BLOCKS:
            raise ValueError(f"p per block must be {BLOCKS} numbers, got {list(value)}")
        return [_read_number(number) for number in value]
    return _read_number(value)


def _read_number(value: object) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)  # YAML 1.1 takes 5e-1 for a text
    except ValueError:
        raise ValueError(
            f"p must be a number, {BLOCKS} of them, or one of these for face and for audio, "
            f"got {value!r}"
        ) from None
    if not 0.0 < number <= 1.0:  # also false for NaN
        raise ValueError(f"p must be in (0, 1], got {value}")
    return number


def per_block(p: BlockP, modality: str) -> tuple[float, ...]:
    """The p of each block of one modality's extractor, "face" or "audio".

    Raises:
        KeyError: p is per modality and leaves this one out.
    """
    blocks = p[modality] if isinstance(p, dict) else p
    return tuple(blocks) if isinstance(blocks, list) else (blocks,) * BLOCKS


def change_p(p: BlockP, change: Callable[[float], float]) -> BlockP:
    """The same form with every number changed."""
    if isinstance(p, dict):
        return {name: _change_blocks(blocks, change) for name, blocks in p.items()}
    return _change_blocks(p, change)


def _change_blocks(
    blocks: float | list[float], change: Callable[[float], float]
) -> float | list[float]:
    if isinstance(blocks, list):
        return [change(number) for number in blocks]
    return change(blocks)


def uniform_p(p: BlockP) -> float | None:
    """The number that every block has, or None where they differ."""
    parts = list(p.values()) if isinstance(p, dict) else [p]
    numbers = {number for part in parts for number in (part if isinstance(part, list) else [part])}
    return numbers.pop() if len(numbers) == 1 else None


def p_text(p: BlockP) -> str:
    """Spell it as "0.5", "0.7/0.5/0.5" or "face 0.7/0.5/0.5, audio 0.5"."""
    uniform = uniform_p(p)
    if uniform is not None:
        return f"{uniform:g}"
    if isinstance(p, dict):
        return ", ".join(f"{name} {p_text(blocks)}" for name, blocks in p.items())
    assert isinstance(p, list)
    return "/".join(f"{number:g}" for number in p)
