"""Display of a training while it runs: a bar in the terminal, curves in tensorboard."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

from mesm.evaluation.task import f1_title
from mesm.runs.folder import RunFolder

# The part of an epoch's record that tensorboard draws.
CURVES = (
    *("train_loss", "gradient_norm", "valid_loss", "valid_f1", "learning_rate"),
    "clips_per_second",
)


class Display:
    """The bar and the curves of one training; a context that closes both.

    Args:
        folder: where the curves are written.
        name: the model's.
        first: steps done before.
        total: steps of the whole training.
        main: whether this process is the one that shows anything.
    """

    def __init__(self, folder: RunFolder, name: str, first: int, total: int, main: bool) -> None:
        self.writer = None
        if main:
            # tensorboard takes a third of a second to import.
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(folder.tensorboard), purge_step=first)
        self.bar = tqdm(
            total=total,
            initial=first,
            desc=f"train {name}",
            unit="step",
            disable=not main,
            file=sys.stderr,
        )

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()  # whatever is said next stands below the bar
        if self.writer is not None:
            self.writer.close()

    def step(self) -> None:
        """Count a step."""
        self.bar.update()

    def means(self, loss: float, clips_per_second: float) -> None:
        """Show the means over the steps of an epoch that goes on."""
        self.bar.set_postfix(loss=f"{loss:.3f}", clips_per_s=f"{clips_per_second:.1f}")

    def epoch(self, record: dict[str, Any], steps: int) -> None:
        """Show and draw the record of an epoch, at whose end so many steps are done."""
        f1 = f"valid_{f1_title(record).lower().replace(' ', '_')}"
        if self.writer is not None:
            for name in CURVES:
                if record[name] is not None:
                    shown = f1 if name == "valid_f1" else name
                    self.writer.add_scalar(shown, record[name], steps)
            self.writer.flush()
        loss = record["train_loss"]
        self.bar.set_postfix(
            {
                "clips_per_s": f"{record['clips_per_second']:.1f}",
                "loss": "not finite" if loss is None else f"{loss:.3f}",
                f1: f"{100 * record['valid_f1']:.1f}",
            }
        )
