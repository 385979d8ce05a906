"""Gives actors the takes that they record: no two clips are the same one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

# Fewer clips would leave speakers who are met once only.
_CLIPS_PER_ACTOR = 4
# A split by speaker needs several.
_FEWEST_ACTORS = 5


@dataclass(frozen=True)
class Take:
    """An actor's task.

    Attributes:
        emotion: its name in the corpus.
        rare: whether it is given less often than others.
    """

    emotion: str
    rare: bool = False


Told = TypeVar("Told", bound=Take)
_RARITY = 8.0


class Takes(Generic[Told]):
    """Every actor's takes that are left, in an order of his own."""

    def __init__(
        self,
        actors: Sequence[int],
        script: Callable[[int], Sequence[Told]],
        clips: int,
        rng: np.random.Generator,
    ) -> None:
        """Let so many actors prepare that they are met again and again.

        Args:
            actors: numbers of all that there are.
            script: the takes of one of them.
            clips: how many clips the corpus will have.
            rng: orders each actor's takes.
        """
        count = min(len(actors), max(_FEWEST_ACTORS, clips // _CLIPS_PER_ACTOR))
        self._left: dict[int, list[Told]] = {}
        for actor in actors[:count]:
            takes = script(actor)
            order = [rng.uniform(0, _RARITY if take.rare else 1.0) for take in takes]
            self._left[actor] = [takes[i] for i in np.argsort(order)]
        self._turn = 0

    def next(self, emotion: str) -> tuple[int, Told]:
        """The next actor in turn and his take of an emotion; where he has none left, of another."""
        actors = [actor for actor, takes in self._left.items() if takes]
        actor = actors[self._turn % len(actors)]
        self._turn += 1
        takes = self._left[actor]
        place = next((i for i, take in enumerate(takes) if take.emotion == emotion), 0)
        return actor, takes.pop(place)
