import json
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mesm.runs.checkpoints import (
    Progress,
    load_last,
    load_weights,
    read_progress,
    save_best,
    save_last,
)
from mesm.runs.folder import RunFolder


def network(width: int = 3) -> nn.Sequential:
    # A channels-last kernel, as the models have.
    conv = nn.Conv2d(2, width, 3)
    conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width, 1))


def record(epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "train_loss": 0.5, "valid_loss": 0.5, "valid_f1": 0.25}


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(3):
        loss = model(torch.randn(4, 2, 3, 3, generator=generator)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def test_training_goes_on_bit_for_bit(tmp_path):
    folder = RunFolder(tmp_path)
    model = network()
    optimizer = torch.optim.AdamW(model.parameters())
    steps(model, optimizer, 1)
    save_last(model, optimizer, Progress({"clips": 3}, epoch=1), folder)
    steps(model, optimizer, 2)
    again = network()
    optimizer = torch.optim.AdamW(again.parameters())
    load_last(again, optimizer, folder)
    steps(again, optimizer, 2)
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert sorted(file.name for file in folder.last.iterdir()) == [
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
    ]


def test_progress_is_json(tmp_path):
    folder = RunFolder(tmp_path)
    assert read_progress(folder) is None
    model = network()
    history = [record(1), record(2)]
    progress = Progress({"emotions": ["sad"]}, 2, history, 1, None, None)
    save_last(model, torch.optim.Adam(model.parameters()), progress, folder)
    assert read_progress(folder) == progress
    (folder.last / "state.json").write_text(json.dumps({"epoch": 1, "nonsense": 2}))
    with pytest.raises(ValueError, match=r"state\.json: cannot be read .* to start anew"):
        read_progress(folder)


def test_another_models_weights_are_refused(tmp_path):
    folder = RunFolder(tmp_path)
    save_best(network(3), folder)
    model = network(4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"another model .* 0\.weight must be \(4, 2, 3, 3\), is"):
        load_weights(model, folder.best)
    for name, value in model.state_dict().items():
        assert torch.equal(before[name], value)
    with pytest.raises(ValueError, match=r"0\.weight is unknown"):
        load_weights(nn.Sequential(nn.Identity(), nn.Linear(2, 2)), folder.best)
    with pytest.raises(ValueError, match=r"4\.weight is missing"):
        load_weights(nn.Sequential(*network(3), nn.Linear(1, 1)), folder.best)


def test_another_models_adam_is_refused(tmp_path):
    folder = RunFolder(tmp_path)
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    steps(model, optimizer, 1)
    save_last(model, optimizer, Progress({}), folder)
    save_file({"exp_avg/0.weight": torch.zeros(2)}, folder.last / "optimizer.safetensors")
    with pytest.raises(ValueError, match=r"another model: exp_avg/0\.weight does not fit"):
        load_last(network(), torch.optim.Adam(model.parameters()), folder)


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.safetensors is not there"):
        load_weights(network(), tmp_path / "none.safetensors")
    file = tmp_path / "damaged.safetensors"
    file.write_bytes(b"not tensors")
    with pytest.raises(ValueError, match=r"damaged\.safetensors: not a safetensors file, or"):
        load_weights(network(), file)
