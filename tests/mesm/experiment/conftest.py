"""An experiment of seconds: two systems, two values of p, on the tiny corpus."""

from pathlib import Path

import pytest
import yaml

SMALL = [
    "model.channels=[4,6,8,10]",
    "model.hidden=16",
    "model.dim=8",
    "model.heads=2",
    "model.layers=1",
    "model.feedforward=16",
    "model.text.vocabulary=60",
    "model.text.embedding=8",
    "model.text.hidden=12",
    "model.text.heads=2",
    "model.text.layers=1",
    "model.text.feedforward=16",
    "training.learning_rate=0.003",
    "training.batch_size=4",
    "training.epochs=4",
]


@pytest.fixture
def small() -> list[str]:
    """Overrides that make a config tiny."""
    return list(SMALL)


@pytest.fixture(scope="session")
def tiny_experiment(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment file of three cells; MESM at p = 0.5 stands in two groups."""
    values = {
        "corpus": str(tiny_corpus),
        "seeds": [0],
        "overrides": [*SMALL, "model.modalities=tv"],
        "grids": {
            "results": {"configs": ["miniature_fe2e", "miniature_mesm"]},
            "p_curve": {"configs": ["miniature_mesm"], "vary": {"model.p": [0.5, 0.3]}},
        },
        "splits": ["test", "valid"],
    }
    file = tmp_path_factory.mktemp("experiment") / "tiny.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return file
