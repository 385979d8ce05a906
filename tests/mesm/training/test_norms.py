"""Batch norms' statistics counted again: plain averages over batches, at the p of the moment."""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mesm import Batch
from mesm.training.norms import count_norms, drawn_batches
from mesm_ops import SparseCrossModalBlock
from tests.mesm.models.conftest import SMALL
from tests.mesm.training import processes


class Network(nn.Module):
    """A dense norm and a sparse block's two, behind each other."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.block = SparseCrossModalBlock(4, 6, query_dim=5, attention_dim=3, p=0.4)

    def forward(self, batch: Any) -> Tensor:
        return self.block(self.drop(self.norm(batch.maps)), batch.query).to_dense()


def batches(count: int = 3) -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    return [
        SimpleNamespace(
            maps=1 + place + torch.randn(2 + place, 4, 6, 6, generator=generator),
            query=torch.randn(2 + place, 5, generator=generator),
        )
        for place in range(count)
    ]


def test_statistics_are_the_mean_of_those_of_the_batches() -> None:
    network = Network()
    given = batches()
    count_norms(network, given)
    means = torch.stack([batch.maps.mean((0, 2, 3)) for batch in given]).mean(0)
    variances = torch.stack([batch.maps.var((0, 2, 3)) for batch in given]).mean(0)
    torch.testing.assert_close(network.norm.running_mean, means)
    torch.testing.assert_close(network.norm.running_var, variances)
    assert int(network.block.norm1.num_batches_tracked) == 3


def test_nothing_of_what_was_before_is_left() -> None:
    fresh = Network()
    trained = copy.deepcopy(fresh)
    trained.norm.running_mean += 7
    trained.block.norm2.running_var *= 3
    for network in (fresh, trained):
        count_norms(network, batches())
    for (name, one), (_, other) in zip(fresh.named_buffers(), trained.named_buffers(), strict=True):
        assert torch.equal(one, other), name


def test_statistics_depend_on_p_and_weights_stay() -> None:
    network = Network()
    before = [parameter.clone() for parameter in network.parameters()]
    found = []
    for p in (0.2, 0.9):
        network.block.p = p
        count_norms(network, batches())
        found.append(network.block.norm1.running_var.clone())
    assert not torch.allclose(*found)
    assert all(torch.equal(*pair) for pair in zip(before, network.parameters(), strict=True))


def test_the_model_is_left_in_evaluation_mode_also_where_a_batch_fails() -> None:
    def failing() -> Iterator[Any]:
        yield from batches(1)
        raise RuntimeError("a clip is gone")

    network = Network().train()
    with pytest.raises(RuntimeError, match="a clip is gone"):
        count_norms(network, failing())
    assert not any(module.training for module in network.modules())
    assert network.norm.momentum == network.block.norm1.momentum == 0.1


class Numbers:
    """A split whose samples are their numbers."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> int:
        return index


def collate(numbers: list[int]) -> Tensor:
    return torch.tensor(numbers)


def test_batches_are_drawn_anew_by_the_seed() -> None:
    def drawn(clips: int, seed: int = 0) -> list[int]:
        found = drawn_batches(Numbers(), collate, 3, clips, torch.device("cpu"), seed)  # type: ignore[arg-type]
        return [int(number) for batch in found for number in batch]

    assert len(drawn(4)) == len(set(drawn(4))) == 6  # whole batches
    assert sorted(drawn(100)) == list(range(10))
    assert drawn(6) == drawn(6) != drawn(6, seed=1)


def test_a_step_of_two_processes_is_one_of_all_clips(tmp_path: Path) -> None:
    """Also where the clips of one of them have no faces, which must wait for nobody's norms."""
    parts = [
        make(processes.FACES[rank], processes.CHUNKS[rank], processes.WORDS[rank], seed=rank)
        for rank in range(2)
    ]
    given = (tmp_path, SMALL | {"dropout": 0.0}, [*parts, joined(parts)])
    torch.multiprocessing.spawn(processes.run, given, nprocs=2)
    assert len(list(tmp_path.glob("done*"))) == 2


def make(faces: Sequence[int], chunks: Sequence[int], words: Sequence[int], seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(max(words)) < torch.tensor(words)[:, None]

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    return Batch(
        clip_ids=["clip"] * len(words),
        text_ids=torch.randint(4, 40, mask.shape, generator=generator) * mask,
        text_mask=mask,
        faces=draw(sum(faces), 3, 48, 48),
        face_lengths=torch.tensor(faces),
        spectrograms=draw(sum(chunks), 1, 128, 32),
        spectrogram_lengths=torch.tensor(chunks),
        labels=draw(len(words), 6),
    )


def joined(parts: list[Batch]) -> Batch:
    names = ("text_ids", "text_mask", "faces", "face_lengths", "spectrograms")
    names = (*names, "spectrogram_lengths", "labels")
    tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return Batch(clip_ids=[name for part in parts for name in part.clip_ids], **tensors)
