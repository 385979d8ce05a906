"""Who looks at the page: the results of each, and the files they uploaded, gone when they leave."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from mesm.config.p import BlockP
from mesm.inference.pieces import Piece
from mesm.inference.results import Prediction
from mesm.web.costs import Cost

# Seconds: an upload that nobody asked anything about, and a visitor who never came back.
UNUSED, IDLE = 600.0, 3600.0
# Seconds between two looks for them.
EVERY = 60.0
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
            return file.is_relative_to(self.uploads.resolve()) and file.is_file()
        except (OSError, ValueError, RuntimeError):
            return False

    def touch(self, place: str | Path) -> bool:
        """As `owns`; an upload that nobody has is kept a while from now on."""
        with suppress(OSError):
            if self.owns(place):
                there = Path(place).stat()
                # This changes when it was changed, by which `sweep` goes, and no more.
                os.utime(place, ns=(there.st_atime_ns, there.st_mtime_ns))
                return True
        return False

    def take(self, visitor: str, *files: Path) -> None:
        """Note that a visitor is there, and which uploads are theirs instead of the earlier ones.

        Where none are named they keep what they have.
        """
        with self._lock:
            found = self._visitors.setdefault(visitor, _Visitor(time.monotonic()))
            found.seen = time.monotonic()
            # Nothing is deleted yet: somebody may be about to ask for the same file.
            found.files = {file.resolve() for file in files} or found.files
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

    @contextmanager
    def swept(self) -> Iterator[None]:
        """Sweep from time to time while a block runs, whether somebody comes or not."""
        ended = threading.Event()

        def sweep() -> None:
            while not ended.wait(EVERY):
                self.sweep()

        thread = threading.Thread(target=sweep, name="sweep", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

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
        # Unlike Path.rglob it takes folders that go meanwhile.
        places = (
            Path(folder, name) for folder, _, names in os.walk(self.uploads) for name in names
        )
        return [file for file in places if file.is_file()]

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
