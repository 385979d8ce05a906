"""Who looks at the page: the results of each, and the files they uploaded, gone when they leave."""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mesm.config.p import BlockP
from mesm.inference.pieces import Piece
from mesm.inference.results import Prediction
from mesm.web.costs import Cost

# Seconds: an upload that nobody asked anything about, and a visitor who never came back.
UNUSED, IDLE = 600.0, 3600.0
# Visitors whose results are kept; the one who has been still longest makes room.
MOST_VISITORS = 32


@dataclass
class Looked:
    """A recording that was read, and all that is kept to look at it again.

    Attributes:
        name: of the file, as its owner calls it.
        source: what was read: the file, and the words told of it.
        pieces: of the recording.
        predictions: of the pieces, at `p`.
        p: the share that was kept; None: the run's own.
        dense: by piece the cost of the dense run, which knows no p.
    """

    name: str
    source: tuple[str, ...]
    pieces: list[Piece]
    predictions: list[Prediction]
    p: BlockP | None = None
    dense: dict[int, Cost] = field(default_factory=dict)


@dataclass
class _Visitor:
    seen: float
    files: set[Path] = field(default_factory=set)
    looked: Looked | None = None


class Desk:
    """Keeps what visitors have, apart from each other.

    Several visitors who upload the same file share it on the disk: it goes with the last of them.

    Args:
        uploads: folder of the uploads; nothing else is in there.
    """

    def __init__(self, uploads: Path) -> None:
        self.uploads = uploads
        self._visitors: dict[str, _Visitor] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._visitors)

    def owns(self, place: str | Path) -> bool:
        """Whether a path is that of an uploaded file, links resolved."""
        try:
            file = Path(place).resolve()
        except (OSError, ValueError, RuntimeError):
            return False
        return file.is_relative_to(self.uploads.resolve()) and file.is_file()

    def take(self, visitor: str, *files: Path) -> None:
        """Note that a visitor is there, and which uploads are theirs."""
        with self._lock:
            found = self._visitors.setdefault(visitor, _Visitor(time.monotonic()))
            found.seen = time.monotonic()
            found.files |= {file.resolve() for file in files}
            others = [name for name in self._visitors if name != visitor]
            crowd = sorted(others, key=lambda name: self._visitors[name].seen)
            for name in crowd[: max(0, len(self._visitors) - MOST_VISITORS)]:
                self._drop(name)

    def keep(self, visitor: str, looked: Looked | None) -> None:
        """Keep what a visitor sees, in the place of what was before."""
        with self._lock:
            if visitor in self._visitors:  # they may have left meanwhile
                self._visitors[visitor].looked = looked

    def looked(self, visitor: str) -> Looked | None:
        """The recording that a visitor sees; None: none, or it is forgotten."""
        with self._lock:
            found = self._visitors.get(visitor)
            return None if found is None else found.looked

    def leave(self, visitor: str) -> None:
        """Forget a visitor, and delete the files that nobody else has."""
        with self._lock:
            self._drop(visitor)

    def sweep(self) -> None:
        """Forget visitors who have long been still, and delete uploads that nobody asked about."""
        now = time.monotonic()
        with self._lock:
            for name, found in list(self._visitors.items()):
                if now - found.seen > IDLE:
                    self._drop(name)
            owned = set().union(*(v.files for v in self._visitors.values()))
            before = time.time() - UNUSED
            for file in self._files():
                with suppress(OSError):
                    if file.resolve() not in owned and file.stat().st_ctime < before:
                        self._delete(file)

    def size(self) -> int:
        """Bytes of all uploads."""
        total = 0
        for file in self._files():
            with suppress(OSError):
                total += file.stat().st_size
        return total

    def close(self) -> None:
        """Forget all visitors and delete the whole folder."""
        with self._lock:
            self._visitors.clear()
            shutil.rmtree(self.uploads, ignore_errors=True)

    def _files(self) -> list[Path]:
        return [file for file in self.uploads.rglob("*") if file.is_file()]

    def _drop(self, visitor: str) -> None:
        gone = self._visitors.pop(visitor, None)
        if gone is None:
            return
        for file in gone.files.difference(*(v.files for v in self._visitors.values())):
            self._delete(file)

    def _delete(self, file: Path) -> None:
        """Delete a file and its folder, which has nothing else, if both are of the uploads."""
        if not file.resolve().is_relative_to(self.uploads.resolve()):
            return
        with suppress(OSError):
            file.unlink(missing_ok=True)
            if file.parent != self.uploads:
                file.parent.rmdir()
