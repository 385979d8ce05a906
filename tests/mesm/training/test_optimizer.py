import pytest
import torch
from torch import nn

from mesm.config.experiment import TrainingSettings
from mesm.models.text import TextEncoder
from mesm.training.optimizer import make_optimizer, plateaus, set_learning_rate
from mesm_ops import SparseCrossModalBlock


class Text(TextEncoder):
    """A text encoder, as the optimiser sees it."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.linear = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


class Model(nn.Module):
    def __init__(self, text: bool, sparse: bool = False) -> None:
        super().__init__()
        self.text = Text() if text else None
        self.rest = nn.Linear(2, 2)
        if sparse:
            self.block = SparseCrossModalBlock(2, 2, 2, 2)


def groups(model: Model, settings: TrainingSettings, step: int = 0) -> dict[float, set[int]]:
    """Per learning rate, the parameters that have it."""
    optimizer = make_optimizer(model, settings)
    set_learning_rate(optimizer, settings, step, 100)
    return {group["lr"]: {id(p) for p in group["params"]} for group in optimizer.param_groups}


def ids(*modules: nn.Module) -> set[int]:
    return {id(parameter) for module in modules for parameter in module.parameters()}


def test_text_encoder_and_attention_have_their_own_rates():
    settings = TrainingSettings(
        learning_rate=1.0, text_learning_rate_factor=0.1, attention_learning_rate_factor=5.0
    )
    model = Model(text=True, sparse=True)
    found = groups(model, settings)
    assert set(found) == {0.1, 1.0, 5.0}
    assert found[0.1] == ids(model.text)
    assert found[5.0] == ids(model.block.attention)
    assert found[1.0] == ids(model) - ids(model.text, model.block.attention)
    assert groups(Model(text=False), settings).keys() == {1.0}


def test_what_is_frozen_is_left_out():
    model = Model(text=True)
    model.text.requires_grad_(False)
    settings = TrainingSettings(learning_rate=1.0, text_learning_rate_factor=0.1)
    assert groups(model, settings) == {1.0: ids(model) - ids(model.text)}


def test_warm_up_and_cosine():
    settings = TrainingSettings(learning_rate=1.0, warmup_steps=10, schedule="cosine")
    values = [max(groups(Model(False), settings, step)) for step in (0, 4, 9, 50, 99)]
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


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_a_plateau_is_what_torch_takes_for_one(patience):
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([parameter], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience, eps=0
    )
    settings = TrainingSettings(
        learning_rate=1.0, schedule="plateau", plateau_factor=0.5, plateau_patience=patience
    )
    generator = torch.Generator().manual_seed(patience)
    falling = (1 / (1 + epoch // 5) for epoch in range(40))
    losses = [x + 0.05 * torch.rand(1, generator=generator).item() for x in falling]
    for epoch, loss in enumerate(losses):
        scheduler.step(loss)
        wanted = optimizer.param_groups[0]["lr"]
        assert 0.5 ** plateaus(losses[: epoch + 1], patience) == pytest.approx(wanted)
    model = Model(False)
    ours = make_optimizer(model, settings)
    set_learning_rate(ours, settings, 5, 10, losses)
    assert ours.param_groups[0]["lr"] == pytest.approx(wanted)
    assert plateaus(losses, patience) > 0
    assert plateaus([], patience) == 0
