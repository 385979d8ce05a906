"""How far the running trainings are: bars in a terminal, lines elsewhere."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any, TextIO

from tqdm import tqdm

from mesm.evaluation.task import f1_title
from mesm.runs.folder import RunFolder
from mesm.runs.ordinary import ordinary

LINE_SECONDS = 30.0
BAR = "{desc} {bar:20} {n_fmt}/{total_fmt} epochs {postfix}"


@dataclass
class Curve:
    """The curve in a run's metrics.jsonl, read again when the file has changed."""

    folder: RunFolder
    epochs: int
    records: list[dict[str, Any]] = field(default_factory=list)
    seen: int = -1

    def read(self) -> bool:
        """Whether there was anything new."""
        try:
            changed = self.folder.metrics.stat().st_mtime_ns
            if changed == self.seen:
                return False
            lines = ordinary(self.folder.metrics).read_text(encoding="utf-8").splitlines()
            records = [json.loads(line) for line in lines]
        except (OSError, ValueError):
            return False  # the training that owns the file will tell
        self.records, self.seen = records, changed
        return True

    def text(self) -> str:
        """Validation F1 and the time that is left."""
        if not self.records:
            return "first epoch"
        seconds = [record["seconds"] for record in self.records]
        left = (self.epochs - len(self.records)) * sum(seconds) / len(seconds)
        last = self.records[-1]
        f1 = f"{f1_title(last)} {100 * last['valid_f1']:.1f}"
        return f"valid {f1}, {tqdm.format_interval(left)} left"


class Display:
    """One line per running job and a bar over everything.

    Args:
        total: jobs in all.
        finished: of them, those that were done before.
        epochs: of the jobs still to do, in all; at most, as a training may stop early.
        before: of those, the epochs done already.
        jobs: that run at a time.
        stream: where to; bars if it is a terminal, else a line when something begins or ends,
            and twice a minute per running job.
    """

    def __init__(
        self,
        total: int,
        finished: int,
        epochs: int,
        before: int,
        jobs: int,
        stream: TextIO | None = None,
    ) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.terminal = self.stream.isatty()
        self.total, self.finished = total, finished
        self.curves: dict[str, Curve] = {}
        self.slots: dict[str, int] = {}
        self.said: dict[str, tuple[float, int]] = {}
        self.bars: list[tqdm[Any]] = []
        if self.terminal:
            self.overall = tqdm(
                total=epochs, initial=before, unit="epoch", position=jobs, file=self.stream
            )
            self._count()
            for slot in range(jobs):
                self.bars.append(
                    tqdm(total=1, position=slot, file=self.stream, leave=False, bar_format=BAR)
                )

    def started(self, name: str, slot: int, folder: RunFolder, epochs: int, trained: bool) -> None:
        """A job begins, or goes on."""
        curve = self.curves[name] = Curve(folder, epochs)
        self.slots[name] = slot
        curve.read()
        done = len(curve.records)
        self.said[name] = time.monotonic(), done
        if self.terminal:
            bar = self.bars[slot]
            bar.reset(total=epochs)
            bar.n = done
            bar.set_description_str(name, refresh=False)
            bar.set_postfix_str("scoring" if trained else curve.text())
        else:
            goes_on = f"goes on after epoch {done} of {epochs}" if done else f"{epochs} epochs"
            self._line(f"{name}: {'is scored' if trained else goes_on}")

    def refresh(self) -> None:
        """Look what the running jobs have written."""
        for name, curve in self.curves.items():
            before = len(curve.records)
            if not curve.read():
                continue
            done = len(curve.records)
            if self.terminal:
                bar = self.bars[self.slots[name]]
                bar.n = done
                bar.set_postfix_str(curve.text())
                self.overall.update(done - before)
            elif time.monotonic() - self.said[name][0] >= LINE_SECONDS:
                self.said[name] = time.monotonic(), done
                self._line(f"{name}: epoch {done} of {curve.epochs}, {curve.text()}")

    def put_back(self, name: str) -> None:
        """A job lost its worker or node, and waits to go on."""
        self._off(name, over=False)
        said = f"{name}: its worker or node died; it waits"
        if self.terminal:
            tqdm.write(said, file=self.stream)
        else:
            self._line(said)

    def ended(self, name: str) -> None:
        """A job is done."""
        curve = self._off(name)
        self.finished += 1
        if self.terminal:
            self._count()
        elif curve is not None and curve.records:
            best = max(curve.records, key=lambda record: record["valid_f1"])
            f1 = f"{f1_title(best)} {100 * best['valid_f1']:.1f}"
            self._line(f"{name}: done in epoch {len(curve.records)}, best valid {f1}")

    def failed(self, name: str, message: str) -> None:
        """A job came to nothing."""
        self._off(name)
        if self.terminal:
            tqdm.write(f"{name}: failed: {message}", file=self.stream)
        else:
            self._line(f"{name}: failed: {message}")

    def close(self) -> None:
        """Leave the terminal in order."""
        for bar in self.bars:
            bar.close()
        if self.terminal:
            self.overall.close()

    def _off(self, name: str, over: bool = True) -> Curve | None:
        curve = self.curves.pop(name, None)
        if curve is not None:
            before = len(curve.records)
            curve.read()
            if self.terminal:
                # A training that stopped early leaves epochs that nobody will do.
                left = curve.epochs - len(curve.records) if over else 0
                self.overall.total = (self.overall.total or 0) - left
                self.overall.update(len(curve.records) - before)
                bar = self.bars[self.slots.pop(name)]
                bar.set_description_str("", refresh=False)
                bar.set_postfix_str("")
        return curve

    def _count(self) -> None:
        self.overall.set_description_str(f"{self.finished}/{self.total} runs")

    def _line(self, text: str) -> None:
        print(f"[{self.finished}/{self.total}] {text}", file=self.stream, flush=True)
