import pytest
import torch
from torch import nn

from mesm.config import TrainingSettings
from mesm.optimisation import make_optimizer, set_learning_rate


class Model(nn.Module):
    def __init__(self, text: bool) -> None:
        super().__init__()
        self.text = nn.Linear(2, 2) if text else None
        self.rest = nn.Linear(2, 2)


def rates(settings: TrainingSettings, step: int, text: bool = True) -> list[float]:
    optimizer = make_optimizer(Model(text), settings)
    set_learning_rate(optimizer, settings, step, 100)
    return [group["lr"] for group in optimizer.param_groups]


def test_text_encoder_learns_slower():
    settings = TrainingSettings(learning_rate=1e-3, text_learning_rate_factor=0.1)
    assert rates(settings, 0) == pytest.approx([1e-4, 1e-3])
    assert rates(settings, 0, text=False) == pytest.approx([1e-3])


def test_warm_up_and_cosine():
    settings = TrainingSettings(
        learning_rate=1.0, text_learning_rate_factor=1.0, warmup_steps=10, schedule="cosine"
    )
    values = [rates(settings, step)[0] for step in (0, 4, 9, 50, 99)]
    assert values == pytest.approx([0.1, 0.498, 0.980, 0.5, 0.000247], abs=1e-3)


def test_without_decay_it_is_adam():
    torch.manual_seed(0)
    ours, theirs = Model(True), Model(True)
    theirs.load_state_dict(ours.state_dict())
    settings = TrainingSettings(learning_rate=0.01, text_learning_rate_factor=1.0)
    adam = torch.optim.Adam(theirs.parameters(), lr=0.01)
    optimizer = make_optimizer(ours, settings)
    for _ in range(3):
        for model, stepper in ((ours, optimizer), (theirs, adam)):
            x = torch.ones(1, 2)
            model.rest(model.text(x)).square().sum().backward()
            stepper.step()
            stepper.zero_grad()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-7)
