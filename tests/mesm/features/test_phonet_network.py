import shutil
import sys

import numpy as np
import pytest

from mesm.features import phonet_network
from mesm.features.phonet_network import (
    CLASSES,
    FILES,
    PhonetNetwork,
    _read_weights,
    load_network,
    weights_folder,
)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_as_by_keras_equations():
    """Windows one by one, in float64, gate by gate."""
    folder = weights_folder()
    kept = _read_weights(folder / "model.h5")
    weights = {key: value.double().numpy() for key, value in kept.items()}
    mean, std = np.load(folder / "mu.npy"), np.load(folder / "std.npy")
    windows = mean + std * np.random.default_rng(0).normal(size=(2, 40, 34))

    def dense(x, name):
        return x @ weights[name, "kernel"] + weights[name, "bias"]

    def gru(x, name):
        kernel, recurrent = weights[name, "kernel"], weights[name, "recurrent_kernel"]
        z_, r_, h_ = (slice(128 * i, 128 * (i + 1)) for i in range(3))
        h, out = np.zeros(128), []
        for row in x:
            given = row @ kernel + weights[name, "bias"]
            z = sigmoid(given[z_] + h @ recurrent[:, z_])
            r = sigmoid(given[r_] + h @ recurrent[:, r_])
            fresh = np.tanh(given[h_] + (r * h) @ recurrent[:, h_])
            h = z * h + (1 - z) * fresh
            out.append(h)
        return np.array(out)

    for got, window in zip(load_network()(windows), windows, strict=True):
        norm = "batch_normalization_1"
        x = (window - mean) / std - weights[norm, "moving_mean"]
        x = x / np.sqrt(weights[norm, "moving_variance"] + 1e-3) * weights[norm, "gamma"]
        x = x + weights[norm, "beta"]
        for number in (1, 2):
            back = gru(x[::-1], f"backward_gru_{number}")[::-1]
            x = np.concatenate([gru(x, f"forward_gru_{number}"), back], 1)
        x = np.maximum(dense(x, "time_distributed_1"), 0)
        for i, name in enumerate(CLASSES):
            logits = dense(np.maximum(dense(x, f"time_distributed_{i + 2}"), 0), name)
            wanted = sigmoid(logits[:, 1] - logits[:, 0])
            np.testing.assert_allclose(got[:, i], wanted, atol=2e-6)


def test_many_windows_go_in_parts():
    windows = np.random.default_rng(0).normal(-3, 1, (70, 40, 34))
    got = load_network()(windows)
    assert got.shape == (70, 40, 18)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[64:], load_network()(windows[64:]), atol=1e-6)


def test_missing_weights_and_packages_are_named(tmp_path, monkeypatch):
    command = r"pip install --no-deps phonet==0\.3\.7"
    with pytest.raises(FileNotFoundError, match=rf"no file .*model\.h5.*{command}, or .*--phonet"):
        PhonetNetwork(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(phonet_network.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(FileNotFoundError, match=rf"no package phonet.*{command}"):
            weights_folder()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(FileNotFoundError, match=r"h5py is missing.*-e '\.\[features\]'"):
        PhonetNetwork(weights_folder())


@pytest.mark.parametrize("name", FILES)
def test_other_weights_are_refused(tmp_path, name):
    for file in FILES:
        shutil.copy(weights_folder() / file, tmp_path)
    file = tmp_path / name
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match=rf"{name} is not that of phonet 0\.3\.7; install"):
        PhonetNetwork(tmp_path)
