"""Logits of a split: every clip once, in order, whoever computed it, and the model untouched."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mesm.corpora.prepared import Clip
from mesm.data.batch import Batch
from mesm.data.clips import ClipDataset, Collate
from mesm.evaluation.predict import NotFiniteError, predict
from mesm.models.late_fusion import TrainingOutputs

EMOTIONS = 3


class OneSubword:
    """Stands for a tokenizer."""

    vocab_size, pad_id = 2, 0

    def encode(self, texts: Sequence[str], max_length: int) -> tuple[Tensor, Tensor]:
        ids = torch.ones(len(texts), 1, dtype=torch.int64)
        return ids, ids.bool()


def clip(number: int) -> Clip:
    """Frames and labels spell the clip's number."""
    return Clip(
        clip_id=f"clip{number}",
        text="words",
        speaker="s",
        dialog="d",
        start=0.0,
        end=1.0,
        labels=np.array([number >> bit & 1 for bit in range(EMOTIONS)], np.int8),
        faces=np.full((1, 48, 48, 3), number, np.uint8),
        face_found=np.ones(1, bool),
        face_boxes=np.zeros((1, 4), np.float32),
        face_times=np.zeros(1, np.float32),
        spectrogram=np.full((128, 32), number, np.float32),
        split="test",
    )


def dataset(clips: int) -> ClipDataset:
    return ClipDataset([clip(number) for number in range(clips)], mean=0.0, std=1.0)


def expected(clips: int) -> tuple[Tensor, Tensor]:
    numbers = torch.arange(clips)
    labels = torch.stack([numbers >> bit & 1 for bit in range(EMOTIONS)], -1).float()
    return numbers[:, None] * torch.tensor([1.0, 10.0, 100.0]) + 0.5, labels


class Spelling(nn.Module):
    """Gives the number that a clip's spectrogram spells; what training adds would show."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 10.0, 100.0]))
        self.bias = nn.Parameter(torch.tensor(0.5))
        self.drop = nn.Dropout(0.9)
        self.dtype = dtype
        self.sizes: list[int] = []
        self.recorded_gradients = False

    def forward(self, batch: Batch) -> Tensor:
        self.sizes.append(len(batch))
        numbers = batch.spectrograms[:, 0, 0, 0]
        logits = self.drop(numbers[:, None] * self.weight + self.bias)
        self.recorded_gradients |= logits.requires_grad
        return logits.to(self.dtype)


def run(model: nn.Module, clips: int, batch_size: int, accelerator=None) -> tuple[Tensor, Tensor]:
    collate = Collate(OneSubword(), 4)
    device = torch.device("cpu")
    return predict(model, dataset(clips), collate, batch_size, device, accelerator)[:2]


@pytest.mark.parametrize(("clips", "batch_size"), [(1, 4), (4, 4), (5, 2), (7, 3), (6, 100)])
def test_every_clip_once_in_corpus_order(clips: int, batch_size: int) -> None:
    model = Spelling()
    logits, labels = run(model, clips, batch_size)
    torch.testing.assert_close(logits, expected(clips)[0])
    assert torch.equal(labels, expected(clips)[1])
    assert max(model.sizes) <= batch_size
    assert sum(model.sizes) == clips


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_evaluated_and_left_as_it_came(training: bool) -> None:
    model = Spelling().train(training)
    logits, _ = run(model, 6, 4)
    # Nothing was dropped.
    torch.testing.assert_close(logits, expected(6)[0])
    assert (model.training, model.drop.training) == (training, training)


def test_no_gradient_is_recorded() -> None:
    model = Spelling()
    logits, labels = run(model, 3, 2)
    assert not model.recorded_gradients
    assert not logits.requires_grad
    assert not labels.requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_logits_are_float32_whatever_the_model_gives(dtype: torch.dtype) -> None:
    logits, labels = run(Spelling(dtype), 5, 2)
    assert logits.dtype == labels.dtype == torch.float32
    # Up to 400.5 in 8 bits: bfloat16's spacing there is 2.
    torch.testing.assert_close(logits, expected(5)[0], rtol=0, atol=1.0)


class Exchange:
    """Stands for accelerate with several processes: they run one after the other, twice.

    In the first pass each leaves its tensors and sees only its own; in the second each gets what
    all of them left at the same step, one after the other along the first axis.
    """

    def __init__(self, processes: int) -> None:
        self.num_processes = processes
        self.process_index = 0
        self.left: list[list[Tensor]] = [[] for _ in range(processes)]
        self.step: int | None = None

    def gather(self, tensor: Tensor) -> Tensor:
        if self.step is None:
            self.left[self.process_index].append(tensor.clone())
            return tensor.repeat(self.num_processes, *[1] * (tensor.dim() - 1))
        self.step += 1
        return torch.cat([tensors[self.step - 1] for tensors in self.left])


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("clips", [1, 2, 6, 7, 8])
def test_every_process_gets_all_clips_in_order(processes: int, clips: int) -> None:
    exchange = Exchange(processes)
    for again in (False, True):
        for rank in range(processes):
            exchange.process_index = rank
            exchange.step = 0 if again else None
            model = Spelling()
            logits, labels = run(model, clips, 2, exchange)
            if again:
                torch.testing.assert_close(logits, expected(clips)[0])
                assert torch.equal(labels, expected(clips)[1])
                # They shared the work: one that has no clip in a step looks at one all the same.
                assert sum(model.sizes) in (clips // processes, -(-clips // processes))
    assert len({len(tensors) for tensors in exchange.left}) == 1
    shapes = [[tensor.shape for tensor in tensors] for tensors in exchange.left]
    assert all(shape == shapes[0] for shape in shapes)


def test_one_process_under_accelerate_gathers_nothing() -> None:
    exchange = Exchange(1)
    logits, _ = run(Spelling(), 5, 2, exchange)
    torch.testing.assert_close(logits, expected(5)[0])
    assert exchange.left == [[]]


def test_logits_that_are_not_finite_name_their_clip(capsys):
    class Odd(nn.Module):
        def forward(self, batch: Batch) -> Tensor:
            odd = torch.tensor([name in ("clip3", "clip4") for name in batch.clip_ids])
            return torch.where(odd, torch.nan, 0.0)[:, None].expand(-1, EMOTIONS)

    collate, device = Collate(OneSubword(), 5), torch.device("cpu")
    message = r"the logits of clip clip3 and of 1 more are not finite"
    with pytest.raises(NotFiniteError, match=message):
        predict(Odd(), dataset(6), collate, 4, device, progress="test")


class Branched(Spelling):
    """With two branches, of which the logits are the sum."""

    def forward(self, batch: Batch, *, branches: bool = False) -> Tensor | TrainingOutputs:
        logits = super().forward(batch)
        own = torch.stack((2 * logits, -logits))
        return TrainingOutputs(logits, own, {}) if branches else logits


@pytest.mark.parametrize("processes", [1, 3])
def test_branches_are_given_where_they_are_asked_for(processes: int) -> None:
    exchange = Exchange(processes)
    collate, device = Collate(OneSubword(), 4), torch.device("cpu")
    for again in (False, True):
        for rank in range(processes):
            exchange.process_index, exchange.step = rank, 0 if again else None
            found = predict(
                Branched(), dataset(7), collate, 2, device, exchange, branches=("text", "face")
            )
            if again:
                torch.testing.assert_close(found.logits, expected(7)[0])
                assert torch.equal(found.labels, expected(7)[1])
                assert list(found.branches) == ["text", "face"]
                assert torch.equal(found.branches["text"], 2 * found.logits)
                assert torch.equal(found.branches["face"], -found.logits)
    assert predict(Branched(), dataset(7), collate, 2, device).branches == {}
