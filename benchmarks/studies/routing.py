"""A task that only a learning attention solves: the query says which patch carries the label.

An image has four patches. Each shows one of two patterns under noise; the label is the pattern
of the patch that the query names, the other three are chance. A network that ignores the query can
at best follow the majority of the four patches, which is right in 11 of 16 cases (0.6875).

The same network is trained with each `selection` ("weighted", "straight_through", "hard"), and with
the second also from MESM's positive start: a convolution, a `SparseCrossModalBlock`, the mean over
the map, a linear layer. Data, initial weights, batches and optimizer are the same per seed. The
dense network has PyTorch's dense block in its place and no query.

    python -m benchmarks.studies.routing    # five minutes on 2 cores

prints a table and writes benchmarks/results/routing.json and docs/assets/routing.png.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.dense import DenseBlock
from benchmarks.environment import environment
from benchmarks.report import write_json
from mesm.models.sparse_extractor import start_positive
from mesm_ops import SparseCrossModalBlock

ROOT = Path(__file__).parents[2]
PATCH = 8
PATCHES = 4
NOISE = 0.5
CHANNELS = (8, 16)
ATTENTION_DIM = 16
LABELS = {"dense": "dense, no query", "positive_start": "straight_through, positive start"}
MAJORITY = 11 / 16  # the best accuracy without the query

Mode = Literal["weighted", "straight_through", "positive_start", "hard", "dense"]
SPARSE: tuple[Mode, ...] = ("weighted", "straight_through", "positive_start", "hard")


@dataclass(frozen=True)
class Settings:
    """Settings that all modes share."""

    train_images: int = 2048
    test_images: int = 1024
    epochs: int = 12
    batch_size: int = 64
    learning_rate: float = 1e-2


@dataclass
class Images:
    """Images, queries that each name a patch, and the labels of the named patches."""

    pixels: Tensor  # (N, 3, 16, 16): the image and the two coordinates of each pixel
    queries: Tensor  # (N, 4) one-hot
    labels: Tensor  # (N,) int64, 0 or 1


@dataclass
class Outcome:
    """One trained network."""

    mode: Mode
    p: float | None
    seed: int
    test_accuracy: list[float] = field(default_factory=list)  # after each epoch
    gradients: dict[str, float] = field(default_factory=dict)  # attention tensor: largest |grad|


def make_images(count: int, generator: torch.Generator) -> Images:
    """Draw images, queries and labels."""
    ramp = torch.arange(PATCH) // 2 % 2 * 2.0 - 1.0
    patterns = torch.stack([ramp[None, :].expand(PATCH, PATCH), ramp[:, None].expand(PATCH, PATCH)])
    shown = torch.randint(0, 2, (count, PATCHES), generator=generator)
    patches = patterns[shown].reshape(count, 2, 2, PATCH, PATCH)
    image = patches.permute(0, 1, 3, 2, 4).reshape(count, 1, 2 * PATCH, 2 * PATCH)
    image = image + NOISE * torch.randn(image.shape, generator=generator)
    axis = torch.linspace(-1, 1, 2 * PATCH)
    places = torch.stack(torch.meshgrid(axis, axis, indexing="ij")).expand(count, -1, -1, -1)
    named = torch.randint(0, PATCHES, (count,), generator=generator)
    return Images(
        pixels=torch.cat([image, places], 1),
        queries=F.one_hot(named, PATCHES).float(),
        labels=shown.gather(1, named[:, None])[:, 0],
    )


class RoutingNetwork(nn.Module):
    """Convolution, block, mean over the map, linear layer; `dense` ignores the query."""

    def __init__(self, mode: Mode, p: float | None) -> None:
        super().__init__()
        narrow, wide = CHANNELS
        self.stem = nn.Sequential(
            nn.Conv2d(3, narrow, 3, padding=1), nn.BatchNorm2d(narrow), nn.ReLU()
        )
        self.block: nn.Module
        if mode == "dense":
            self.block = DenseBlock(narrow, wide)
        else:
            assert p is not None
            selection = "straight_through" if mode == "positive_start" else mode
            self.block = SparseCrossModalBlock(
                narrow, wide, PATCHES, ATTENTION_DIM, p=p, selection=selection
            )
            if mode == "positive_start":
                start_positive(self.block)
        self.classify = nn.Linear(wide, 2)

    def forward(self, pixels: Tensor, queries: Tensor) -> Tensor:
        """Pixels (N, 3, H, W) and queries (N, 4) to logits (N, 2)."""
        maps = self.stem(pixels)
        if isinstance(self.block, DenseBlock):
            return self.classify(self.block(maps).mean((2, 3)))
        return self.classify(self.block(maps, queries, None).to_dense().mean((2, 3)))


def train(mode: Mode, p: float | None, seed: int, settings: Settings) -> Outcome:
    """Train one network and note its test accuracy after every epoch."""
    generator = torch.Generator().manual_seed(1000 + seed)
    train_set = make_images(settings.train_images, generator)
    test_set = make_images(settings.test_images, generator)
    torch.manual_seed(seed)
    network = RoutingNetwork(mode, p)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    steps = settings.epochs * (settings.train_images // settings.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, steps)
    outcome = Outcome(mode, p, seed)
    for _ in range(settings.epochs):
        network.train()
        order = torch.randperm(settings.train_images, generator=generator)
        for chosen in order.split(settings.batch_size):
            optimizer.zero_grad()
            logits = network(train_set.pixels[chosen], train_set.queries[chosen])
            F.cross_entropy(logits, train_set.labels[chosen]).backward()
            _note_gradients(network, outcome)
            optimizer.step()
            schedule.step()
        outcome.test_accuracy.append(accuracy(network, test_set))
    return outcome


def _note_gradients(network: RoutingNetwork, outcome: Outcome) -> None:
    for name, parameter in network.named_parameters():
        if ".attention." in name:
            found = 0.0 if parameter.grad is None else float(parameter.grad.abs().max())
            outcome.gradients[name] = max(found, outcome.gradients.get(name, 0.0))


@torch.no_grad()
def accuracy(network: RoutingNetwork, images: Images) -> float:
    """Share of images whose label is found."""
    network.eval()
    found = network(images.pixels, images.queries).argmax(1)
    return float((found == images.labels).float().mean())


def study(seeds: list[int], p_values: list[float], settings: Settings) -> list[Outcome]:
    """Train every mode at every p with every seed."""
    runs: list[tuple[Mode, float | None]] = [(mode, p) for p in p_values for mode in SPARSE]
    runs.append(("dense", None))
    todo = [(mode, p, seed) for mode, p in runs for seed in seeds]
    return [train(*each, settings) for each in tqdm(todo, desc="routing", unit="network")]


def table(outcomes: list[Outcome]) -> list[str]:
    """Final test accuracy per mode and p, one column per seed."""
    lines = [f"{'selection':<18}{'p':>5}  test accuracy per seed   attention tensors learning"]
    for (mode, p), group in _grouped(outcomes).items():
        seeds = "  ".join(f"{each.test_accuracy[-1]:.3f}" for each in group)
        # The softmax does not see the score's bias: its gradient is rounding and nothing else.
        slopes = [
            [slope for name, slope in each.gradients.items() if not name.endswith("score.bias")]
            for each in group
        ]
        learning = min(sum(slope > 0 for slope in each) for each in slopes)
        learns = f"{learning} of {len(slopes[0])}" if slopes[0] else "–"
        lines.append(f"{mode:<18}{'–' if p is None else p:>5}  {seeds:<25}{learns}")
    return lines


def _grouped(outcomes: list[Outcome]) -> dict[tuple[Mode, float | None], list[Outcome]]:
    groups: dict[tuple[Mode, float | None], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.mode, outcome.p), []).append(outcome)
    return groups


def draw(outcomes: list[Outcome], path: Path) -> None:
    """Accuracy over epochs, one panel per p, a thin line per seed and a thick one for the mean."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = _grouped(outcomes)
    p_values = sorted({p for _, p in groups if p is not None})
    colours: dict[Mode, str] = {
        "weighted": "tab:blue",
        "straight_through": "tab:green",
        "positive_start": "tab:olive",
        "hard": "tab:orange",
        "dense": "tab:gray",
    }
    figure, panels = plt.subplots(
        1, len(p_values), figsize=(3.6 * len(p_values), 3.2), sharey=True, squeeze=False
    )
    for panel, p in zip(panels[0], p_values, strict=True):
        for mode, colour in colours.items():
            group = groups[mode, None if mode == "dense" else p]
            curves = [each.test_accuracy for each in group]
            epochs = range(1, len(curves[0]) + 1)
            for curve in curves:
                panel.plot(epochs, curve, color=colour, linewidth=0.7, alpha=0.5)
            mean = [statistics.mean(values) for values in zip(*curves, strict=True)]
            label = LABELS.get(mode, mode)
            panel.plot(epochs, mean, color=colour, linewidth=2, label=label)
        panel.axhline(MAJORITY, color="black", linestyle=":", linewidth=1)
        panel.text(1, MAJORITY - 0.06, "best without the query", fontsize=7)
        panel.set(title=f"p = {p}", xlabel="epoch", ylim=(0.45, 1.02))
    panels[0][0].set_ylabel("test accuracy")
    panels[0][0].legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    figure.savefig(beside, format="png", dpi=130)
    plt.close(figure)
    beside.replace(path)


def main() -> None:
    """Run the study and write its table, numbers and figure."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.routing", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--seeds", type=int, default=3, help="networks per mode and p")
    parser.add_argument("--p", type=float, nargs="+", default=[0.3, 0.6, 0.9])
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results/routing.json")
    parser.add_argument("--figure", type=Path, default=ROOT / "docs/assets/routing.png")
    arguments = parser.parse_args()
    settings = Settings()
    outcomes = study(list(range(arguments.seeds)), arguments.p, settings)
    print("\n".join(table(outcomes)))
    content: dict[str, Any] = {
        "machine": environment(),
        "settings": asdict(settings),
        "best_without_query": MAJORITY,
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }
    write_json(arguments.results, content)
    draw(outcomes, arguments.figure)
    print(f"{arguments.results}\n{arguments.figure}")


if __name__ == "__main__":
    main()
