from typing import get_args

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from mesm.config.experiment import LossName, TrainingSettings
from mesm.models.late_fusion import TrainingOutputs
from mesm.training.losses import CRITERIA, TrainingLoss, class_weights, positive_weights


def test_negatives_per_positive():
    labels = torch.tensor([[1.0, 1, 0, 1], [0, 1, 0, 0], [0, 1, 0, 1], [0, 1, 0, 0]])
    # One positive of four; all; none; half.
    assert positive_weights(labels).tolist() == [3.0, 1.0, 1.0, 1.0]
    assert positive_weights(labels).dtype == torch.float32


def outputs() -> TrainingOutputs:
    return TrainingOutputs(
        torch.randn(4, 3),
        torch.randn(2, 4, 3),
        {"face": torch.tensor([1.0, 0.7]), "audio": torch.tensor([0.95])},
    )


def test_without_options_it_is_the_papers():
    weight, labels = torch.tensor([1.0, 2.0, 3.0]), torch.randint(2, (4, 3)).float()
    loss, out = TrainingLoss(weight, TrainingSettings()), outputs()
    assert loss.options(0.5) == {}
    expected = binary_cross_entropy_with_logits(out.logits, labels, pos_weight=weight)
    torch.testing.assert_close(loss(out.logits, labels, 0.5), expected)
    torch.testing.assert_close(loss(out, labels, 0.5), expected)


@pytest.mark.parametrize(("done", "share"), [(0.2, 0.0), (0.5, 0.5), (0.9, 1.0)])
def test_each_term_has_its_weight(done, share):
    settings = TrainingSettings(branch_loss=0.5, concentration=4.0, concentration_target=0.9)
    weight, labels, out = torch.ones(3), torch.randint(2, (4, 3)).float(), outputs()
    loss = TrainingLoss(weight, settings)
    expected = binary_cross_entropy_with_logits(out.logits, labels)
    expected += 0.5 * sum(binary_cross_entropy_with_logits(b, labels) for b in out.branches)
    # Over the target are 0.1 of two frames' mean in one extractor and 0.05 in the other.
    expected += share * 4.0 * (0.05 + 0.05)
    torch.testing.assert_close(loss(out, labels, done), expected)


def test_a_batch_without_frames_has_no_entropy():
    settings = TrainingSettings(concentration=1.0)
    out = TrainingOutputs(torch.zeros(1, 2), torch.zeros(1, 1, 2), {"face": torch.zeros(0)})
    assert TrainingLoss(torch.ones(2), settings)(out, torch.zeros(1, 2), 1.0).isfinite()


@pytest.mark.parametrize("branch_loss", [0.0, 1.0])
def test_the_attention_is_asked_for_only_while_its_entropy_weighs_anything(branch_loss):
    settings = TrainingSettings(
        branch_loss=branch_loss, concentration=4.0, concentrated=["face"], epochs=3
    )
    loss = TrainingLoss(torch.ones(3), settings)
    fused = {"branches": True} if branch_loss else {}
    assert [loss.options(done) for done in (0.0, 1 / 3)] == [fused, fused]
    asked = {"branches": True, "entropy": ("face",)}
    assert [loss.options(done) for done in (0.34, 0.9)] == [asked, asked]
    settings = TrainingSettings(branch_loss=branch_loss)
    assert TrainingLoss(torch.ones(3), settings).options(0.9) == fused


def test_a_hard_attention_is_asked_for_from_the_start():
    """Else Adam would begin later with what learns from nothing but its entropy."""
    settings = TrainingSettings(branch_loss=1.0, concentration=4.0, concentrated=["face"])
    loss = TrainingLoss(torch.ones(3), settings, hard_attention=True)
    asked = {"branches": True, "entropy": ("face",)}
    assert [loss.options(done) for done in (0.0, 0.9)] == [asked, asked]
    settings = TrainingSettings(branch_loss=1.0)
    loss = TrainingLoss(torch.ones(3), settings, hard_attention=True)
    assert loss.options(0.0) == {"branches": True}


def test_class_weights_balance_the_clips():
    labels = torch.eye(4)[torch.tensor([0, 0, 0, 1, 1, 3])]
    weights = class_weights(labels)
    # Six clips, four emotions; the third has no clip to weigh.
    assert weights.tolist() == pytest.approx([6 / 12, 6 / 8, 1.0, 6 / 4])
    assert weights.dtype == torch.float32
    together = (labels * weights).sum(0)
    assert together.tolist() == pytest.approx([1.5, 1.5, 0.0, 1.5])
    assert class_weights(torch.eye(3)).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("emotions", [2, 7])
def test_softmax_loss_and_gradient_are_torchs_over_the_clips(emotions):
    """torch's own mean is over the batch's weights, so its sum over the clips is compared with."""
    places = torch.randint(emotions, (5,))
    labels, weight = torch.eye(emotions)[places], torch.rand(emotions) + 0.5
    settings = TrainingSettings(branch_loss=0.5)
    loss = TrainingLoss(weight, settings, criterion="cross_entropy")
    logits = torch.randn(3, 5, emotions, requires_grad=True)
    loss(TrainingOutputs(logits[0], logits[1:], {}), labels, 0.5).backward()
    found, logits.grad = logits.grad, None
    expected = cross_entropy(logits[0], places, weight, reduction="sum") / 5
    for branch in logits[1:]:
        expected = expected + 0.5 * cross_entropy(branch, places, weight, reduction="sum") / 5
    expected.backward()
    torch.testing.assert_close(found, logits.grad)
    torch.testing.assert_close(
        loss.cross_entropy(logits[0], labels),
        cross_entropy(logits[0], places, weight, reduction="none").mean(),
    )


def test_a_softmax_pupil_learns_its_teachers_softmax():
    logits, theirs = torch.randn(2, 4, 3)
    branches, their_branches = torch.randn(2, 2, 4, 3)
    labels = torch.eye(3)[torch.randint(3, (4,))]
    settings = TrainingSettings(branch_loss=0.5, distillation=0.7)
    loss = TrainingLoss(torch.tensor([1.0, 2.0, 3.0]), settings, criterion="cross_entropy")
    outputs = TrainingOutputs(logits, branches, {})
    found = loss(outputs, labels, 0.0, TrainingOutputs(theirs, their_branches, {}))

    def divergence(ours: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        shares = wanted.softmax(1)
        kl = torch.nn.functional.kl_div(ours.log_softmax(1), shares, reduction="batchmean")
        return kl - (shares * shares.log()).sum(1).mean()

    likeness = divergence(logits, theirs) + sum(map(divergence, branches, their_branches))
    expected = 0.3 * loss(outputs, labels, 0.0) + 0.7 * likeness
    torch.testing.assert_close(found, expected)


def test_every_loss_has_its_criterion():
    assert set(CRITERIA) == set(get_args(LossName))


def test_a_softmax_step_asks_the_device_for_no_value():
    """Tensors on meta have none to give."""
    with torch.device("meta"):
        loss = TrainingLoss(
            torch.ones(3), TrainingSettings(branch_loss=1.0), criterion="cross_entropy"
        )
        logits = torch.randn(3, 4, 3, requires_grad=True)
        labels = torch.ones(4, 3)
    outputs = TrainingOutputs(logits[0], logits[1:], {})
    loss(outputs, labels, 0.5, outputs).backward()
    assert logits.grad is not None
