"""`mesm prepare` of a raw corpus, or into a folder, on object storage."""

from __future__ import annotations

import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from hashlib import sha256 as digest
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mesm.corpora.manifest import MANIFEST, Manifest
from mesm.corpora.parts import Places
from mesm.corpora.prepare import WORK, PrepareOptions, prepare
from mesm.corpora.registry import CORPORA, find_corpus
from mesm.corpora.utterances import relative
from mesm.runs.cluster import Cluster
from mesm.runs.files import check_own, owned
from mesm.runs.nodes import is_token
from mesm.runs.storage import Store

PARTS = f"{WORK}/parts"
OURS = (f"{WORK}/", "data/")
PRIVATE = 0o700
MEND = "delete it, or name another folder with --cache"


@dataclass(frozen=True)
class Remote:
    """The carrier between object storage and the processes that make parts.

    Attributes:
        raw: where the raw corpus lies; None: on this machine.
        out: where the prepared corpus is to lie; None: on this machine.
        tree: stands for the raw corpus on the machine that runs the command.
        home: folder for what is under way, on whichever machine.
        alone: whether the machine that runs the command does the work itself.
    """

    raw: Store | None
    out: Store | None
    tree: Path
    home: Path
    alone: bool

    def settle(self) -> None:
        """Make the folder for what is under way; refuse another user's."""
        self.home.parent.mkdir(parents=True, exist_ok=True)
        self.home.mkdir(PRIVATE, exist_ok=True)
        check_own(self.home, MEND)

    def places(self, out: Path, raw: Path) -> Places:
        """Give what nodes must see."""
        return self.out or out, [self.raw or raw]

    @contextmanager
    def inputs(self, dialog: Any) -> Iterator[Any]:
        """Fetch a dialog's media into a folder of this process, for as long as they are read."""
        if self.raw is None:
            yield dialog
            return
        units = self.home / "units"
        units.mkdir(exist_ok=True)
        _sweep(units)
        folder = Path(tempfile.mkdtemp(prefix=f"{_system()}-{os.getpid()}-", dir=units))
        try:
            moved: dict[Path, Path] = {}
            for file in {file for u in dialog.utterances for file in u.media if file is not None}:
                moved[file] = folder / relative(file, self.tree)
                name = relative(file, self.tree)
                stamp = self.raw.stamp(name)
                if stamp is not None:
                    self.raw.get(name, moved[file], stamp)
            utterances = [
                replace(u, video=u.video and moved[u.video], audio=u.audio and moved[u.audio])
                for u in dialog.utterances
            ]
            root = folder / relative(dialog.root, self.tree)
            brought = replace(dialog, root=root, utterances=tuple(utterances))
            # On nodes, where the tree is not, whoever makes the part compares.
            if self.alone and brought.part_name() != dialog.part_name():
                raise ValueError(
                    f"{self.raw.url}: the files of {dialog.name} changed (in size or time) since "
                    "the command began: leave the corpus alone, and run the same command again"
                )
            yield brought
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def take(self, part: Path) -> None:
        """Keep a finished part beside the output."""
        if self.out is not None:
            self.out.put(part, f"{PARTS}/{part.name}")

    def leave(self, part: Path) -> None:
        """Delete a part that is kept, on a node that nobody tidies."""
        if self.out is not None:
            part.unlink(missing_ok=True)

    def bring(self, part: Path) -> None:
        """Fetch a part that another machine made."""
        if self.out is not None:
            self.out.get(f"{PARTS}/{part.name}", part)


def prepare_remote(
    corpus: str,
    raw: Path | Store,
    out: Path | Store,
    options: PrepareOptions,
    cluster: Cluster | None = None,
    cache: Path | None = None,
) -> Manifest:
    """As `mesm.corpora.prepare.prepare`, where either place, or both, is on object storage.

    Args:
        corpus: whose layout `raw` has.
        raw: the raw corpus.
        out: the folder to make.
        options: how.
        cluster: whose nodes do the work.
        cache: folder on each machine for what is under way; None: of the system's temporary files.

    Returns:
        The manifest, also in `out`.

    Raises:
        ValueError: as `prepare` does; or the corpus' reader opens the media, or the storage cannot
            be read or written.
    """
    row = find_corpus(corpus)
    if isinstance(raw, Store) and not row.read_first:
        able = ", ".join(other.name for other in CORPORA.values() if other.read_first)
        raise ValueError(
            f"{corpus} is measured while it is read, so {raw.url} must lie on disk: copy it; on "
            f"object storage may lie: {able}"
        )
    places = [place.url if isinstance(place, Store) else "" for place in (raw, out)]
    content = digest(" ".join([corpus, *places]).encode()).hexdigest()[:16]
    home = (cache or Path(tempfile.gettempdir())) / f"mesm-{os.geteuid()}-{content}"
    with owned(home, "preparing in", PRIVATE):
        check_own(home, MEND)
        try:
            manifest = _prepared_in(home, corpus, raw, out, row.read_first, options, cluster)
        except BaseException:
            if next(home.rglob("*"), None) is not None:
                tqdm.write(
                    f"{home} keeps {_room(home)}, from which the same command goes on here",
                    file=sys.stderr,
                )
            raise
        tqdm.write(f"{home} had {_room(home)} in the end, and is deleted", file=sys.stderr)
        shutil.rmtree(home, ignore_errors=True)
    return manifest


def _prepared_in(
    home: Path,
    corpus: str,
    raw: Path | Store,
    out: Path | Store,
    read_first: tuple[str, ...],
    options: PrepareOptions,
    cluster: Cluster | None,
) -> Manifest:
    """Prepare by way of a folder on this machine; it is not deleted."""
    tree = home / "raw" if isinstance(raw, Store) else raw
    staging = home / "out" if isinstance(out, Store) else out
    carrier = Remote(
        raw if isinstance(raw, Store) else None,
        out if isinstance(out, Store) else None,
        *(tree, home, cluster is None),
    )
    if isinstance(raw, Store):
        _lay_out(raw, tree, read_first)
    if isinstance(out, Store):
        tqdm.write(f"{out.url} is {staging} until it is whole", file=sys.stderr)
        _bring_back(out, staging)
    try:
        manifest = prepare(corpus, tree, staging, options, cluster, carrier)
    except ValueError as error:
        said = str(error)
        for place, here in ((raw, tree), (out, staging)):
            if isinstance(place, Store):
                said = said.replace(str(here), place.url)
        raise ValueError(said) from None
    if isinstance(out, Store):
        _hand_over(staging, out, manifest)
    return manifest


def _room(folder: Path) -> str:
    """The room that a folder takes on the disk, in words; files without content take none."""
    taken = 0
    for file in folder.rglob("*"):
        with suppress(OSError):
            taken += 512 * file.lstat().st_blocks
    return f"{taken / 1e9:.1f} GB" if taken >= 1e8 else f"{taken / 1e6:.1f} MB"


def _lay_out(raw: Store, tree: Path, read_first: tuple[str, ...]) -> None:
    """Fetch what the reader reads; for the media lay out empty files of their sizes and times."""
    stamps = raw.files()
    if not stamps:
        raise ValueError(f"{raw.url} is empty, or is not there: check the place and the region")
    shutil.rmtree(tree, ignore_errors=True)
    wanted = [name for name in stamps if any(fnmatch(name, f"*{one}") for one in read_first)]
    for name in tqdm(wanted, desc="fetching labels", unit="file", leave=False):
        raw.get(name, tree / name, stamps[name])
    for name in stamps.keys() - set(wanted):
        file = tree / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as hole:
            hole.truncate(stamps[name].size)  # takes no room on the disk
        os.utime(file, (stamps[name].time, stamps[name].time))


def _bring_back(out: Store, staging: Path) -> None:
    """Fetch what an earlier command left of the output, whole or begun; refuse anything else."""
    there = out.files()
    ours = [name for name in there if name == MANIFEST or name.startswith(OURS)]
    others = [name for name in there if name not in ours and not is_token(name)]
    if others and MANIFEST not in there:
        raise ValueError(f"{out.url} is not empty ({others[0]}): name a new folder")
    shutil.rmtree(staging / "data", ignore_errors=True)
    (staging / MANIFEST).unlink(missing_ok=True)
    for name in tqdm(sorted(ours), desc="fetching what is there", unit="file", leave=False):
        file = staging / name
        # A part's name tells its content.
        if not (name.startswith(f"{PARTS}/") and file.is_file()):
            out.get(name, file)


def _hand_over(staging: Path, out: Store, manifest: Manifest) -> None:
    """Put the finished corpus in its place: the old manifest goes first, the new one comes last."""
    there = out.files()
    content = out.read(MANIFEST)
    if content != (staging / MANIFEST).read_bytes() or not manifest.files.keys() <= there.keys():
        out.delete([MANIFEST])
        for name in tqdm(manifest.files, desc="uploading", unit="file", leave=False):
            out.put(staging / name, name)
        out.put(staging / MANIFEST, MANIFEST)
    out.delete([name for name in there if name.startswith(OURS) and name not in manifest.files])


@functools.cache
def _system() -> str | None:
    """Name the running system, in whose list of processes a number is this machine's process.

    None: there is no such list, as on macOS.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        processes = Path("/proc/self/ns/pid").readlink()  # of its own in a container
    except OSError:
        return None
    return digest(f"{boot}{processes}".encode()).hexdigest()[:12]


def _sweep(units: Path) -> None:
    """Delete what dialogs left whose process was killed, of this machine's processes only."""
    if _system() is None:  # nobody knows who is alive: the command deletes all in the end
        return
    # Where machines share the folder, the others' processes may be alive.
    for folder in units.glob(f"{_system()}-*"):
        number = folder.name.split("-")[1]
        with suppress(OSError, ValueError):
            if not Path(f"/proc/{int(number)}").exists():
                shutil.rmtree(folder, ignore_errors=True)
