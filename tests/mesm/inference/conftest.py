"""A prepared corpus out of recordings that are still there, and short trainings on it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from tests.mesm.inference.recordings import film

SAID = ("so happy", "how sad", "very happy", "so sad now", "happy", "sad")


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six recordings of a second and a half, and clips.csv about them."""
    folder = tmp_path_factory.mktemp("films")
    rows = []
    for place, text in enumerate(SAID):
        name = f"film{place}.mp4"
        film(folder / name, 1.7, seed=place)
        emotion = "happy" if "happy" in text else "sad"
        split = ("train", "train", "train", "train", "valid", "valid")[place]
        rows.append((name, text, split, emotion))
    with (folder / "clips.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "video", "text", "split", "emotion", "start", "end"])
        for row in rows:
            table.writerow([Path(row[0]).stem, *row, "", ""])
        table.writerow(["rest0", "film0.mp4", "a sad rest", "test", "sad", "0.3", "1.2"])
        table.writerow(["rest1", "film1.mp4", "a happy rest", "test", "happy", "0.3", "1.2"])
    return folder


@pytest.fixture(scope="session")
def own_corpus(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared corpus of the films."""
    from mesm.corpora.prepare import PrepareOptions, prepare

    out = tmp_path_factory.mktemp("own") / "prepared"
    prepare("table", films / "clips.csv", out, PrepareOptions(min_face_size=40, workers=1))
    return out


def _trained(config: str, corpus: Path, run: Path, *overrides: str) -> Path:
    from mesm.config.files import load_config
    from mesm.training.loop import train
    from tests.mesm.conftest import SMALL

    train(load_config(config, [f"corpus={corpus}", *SMALL, *overrides]), run)
    return run


@pytest.fixture(scope="session")
def own_mesm(own_corpus: Path) -> Path:
    """A MESM on the films, whose clips have several emotions or none as far as it knows."""
    settings = ("training.loss=binary", "evaluation.threshold=tuned")
    return _trained("own_mesm", own_corpus, own_corpus.parent / "mesm", *settings)


@pytest.fixture(scope="session")
def own_single(own_corpus: Path) -> Path:
    """An FE2E on the films, one emotion a clip."""
    return _trained("own_fe2e", own_corpus, own_corpus.parent / "fe2e")


@pytest.fixture(scope="session")
def tiny_wav2vec2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A speech-recognition model with random weights, which hears A."""
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
        Wav2Vec2Processor,
    )

    folder = tmp_path_factory.mktemp("speech")
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "A": 5, "B": 6}
    (folder / "words.json").write_text(json.dumps(vocabulary))
    torch.manual_seed(1)
    config = Wav2Vec2Config(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_stride=(20, 16),
        conv_kernel=(20, 16),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    model = Wav2Vec2ForCTC(config)
    with torch.no_grad():  # says A wherever it hears anything
        model.lm_head.bias[5] = 9.0
    model.save_pretrained(folder)
    Wav2Vec2Processor(
        Wav2Vec2FeatureExtractor(sampling_rate=16000),
        Wav2Vec2CTCTokenizer(str(folder / "words.json")),
    ).save_pretrained(folder)
    return folder
