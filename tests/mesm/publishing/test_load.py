"""Published folders from anybody: damaged, made up, too large, or whole."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mesm.publishing.contents import CONFIG, HASHED, PREPROCESSOR, TOKENIZER, WEIGHTS
from mesm.publishing.load import load_published
from mesm.runs.hashes import sealed

Change = Callable[[dict[str, Any]], object]


def resealed(folder: Path, change: Change = lambda values: None) -> None:
    """Change config.json, and have all hashes be right, as whoever means harm would."""
    values = json.loads((folder / CONFIG).read_text())
    for name in HASHED:
        if (folder / name).is_file():
            values["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    change(values)
    values.pop("digest", None)
    (folder / CONFIG).write_text(json.dumps(sealed(values)))


def changed(folder: Path, name: str, change: Change) -> None:
    values = json.loads((folder / name).read_text())
    change(values)
    (folder / name).write_text(json.dumps(values))
    resealed(folder)


def refused(folder: Path, said: str = "") -> str:
    with pytest.raises(ValueError, match=said) as told:
        load_published(folder)
    message = str(told.value)
    assert message.startswith(str(folder))
    assert "\n" not in message
    assert len(message) < 800
    return message


def test_a_whole_one_is_frozen_and_says_all(published: Path) -> None:
    found = load_published(published)
    assert found.path == published
    assert found.weights == hashlib.sha256((published / WEIGHTS).read_bytes()).hexdigest()
    assert not any(module.training for module in found.model.modules())
    kept = load_file(published / WEIGHTS)
    assert all(torch.equal(value, kept[name]) for name, value in found.model.state_dict().items())
    assert found.settings.title == "MESM"
    assert found.preprocessing.title == "IEMOCAP"
    assert found.preprocessing.min_face_size == 60
    assert len(found.emotions) == 6
    assert found.decider.policy == "tuned on validation F1"


def test_clips_that_lack_something_have_an_answer(published: Path) -> None:
    found = load_published(published)
    no_faces, no_sound = np.zeros((0, 48, 48, 3), np.uint8), np.zeros((128, 0), np.float32)
    faces, sound = np.full((2, 48, 48, 3), 99, np.uint8), np.full((128, 40), -6, np.float32)
    samples = [
        found.sample("whole", "i am so happy", faces, sound),
        found.sample("no faces", "what", no_faces, sound),
        found.sample("no sound", "what", faces, no_sound),
        found.sample("nothing", "", no_faces, no_sound),
    ]
    with torch.inference_mode():
        logits = found.model(found.collate(samples))
    assert logits.shape == (4, 6)
    probabilities = found.probabilities(logits)
    assert probabilities.dtype == torch.float64
    assert bool(((probabilities > 0) & (probabilities < 1)).all())
    assert found.decider.decide(logits).dtype == torch.bool
    for wrong in (faces[0], faces[:, :40], faces.astype(np.float32)):
        with pytest.raises(ValueError, match=r"faces must be \(S, 48, 48, 3\) uint8"):
            found.sample("wrong", "", wrong, sound)
    with pytest.raises(ValueError, match=r"a spectrogram must be \(128, T\)"):
        found.sample("wrong", "", faces, sound[:64])


def test_behind_links_as_the_hubs_cache_has_it(published: Path, tmp_path: Path) -> None:
    linked = tmp_path / "snapshot"
    linked.mkdir()
    for file in published.iterdir():
        (linked / file.name).symlink_to(file)
    assert load_published(linked).weights == load_published(published).weights


def test_nothing_else_in_the_folder_is_opened(published: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(published / "harm"),)

    for name in ("pytorch_model.bin", "model.pkl", "mesm.pt"):
        (published / name).write_bytes(pickle.dumps(Evil()))
    for name in ("modeling_mesm.py", "__init__.py", "sitecustomize.py"):
        (published / name).write_text(f"open({str(published / 'harm')!r}, 'w')")
    os.mkfifo(published / "pipe")
    load_published(published)
    (published / WEIGHTS).write_bytes(pickle.dumps(Evil()))
    resealed(published)
    refused(published, "not a safetensors file, or damaged")
    assert not (published / "harm").exists()


@pytest.mark.parametrize("name", [CONFIG, *HASHED])
def test_each_file_is_wanted_whole(name: str, published: Path) -> None:
    content = (published / name).read_bytes()
    (published / name).write_bytes(content[: len(content) // 2])
    refused(published, name)
    spoilt = bytearray(content)
    spoilt[len(spoilt) // 3] ^= 1
    (published / name).write_bytes(spoilt)
    refused(published, name)
    (published / name).unlink()
    refused(published, f"no published model, {name} is not there")
    (published / name).mkdir()
    refused(published, f"{name} is a folder, wanted a file")
    (published / name).rmdir()
    os.mkfifo(published / name)
    refused(published, f"{name} is a named pipe")


def test_what_is_no_published_model_is_refused(tmp_path: Path, legacy: Path) -> None:
    for place in (tmp_path / "none", tmp_path, legacy / "runs/iemocap_mesm"):
        refused(place, r"no published model, .*\.json is not there|preprocessor_config")


CONFIGS: list[tuple[Change, str]] = [
    (lambda v: v.update(format=2), "damaged, at format"),
    (lambda v: v.update(library="other"), "damaged, at library"),
    (lambda v: v.update(system="mult"), "damaged, at system"),
    (lambda v: v.update(system="fe2e"), "settings of no fe2e"),
    (lambda v: v.update(extra=1), "damaged, at extra"),
    (lambda v: v.pop("arguments"), "damaged, at arguments"),
    (lambda v: v["files"].pop(TOKENIZER), "names not all of"),
    (lambda v: v["files"].update({"../../x": "0" * 64}), "damaged, at files"),
    (lambda v: v["threshold"].update(values=None), "thresholds that do not fit"),
    (lambda v: v["threshold"]["values"].pop(), "thresholds that do not fit"),
    (lambda v: v["threshold"].update(values=[2.0] * 6), r"damaged, at threshold\.values"),
    (lambda v: v["threshold"].update(policy="a\nb"), r"damaged, at threshold\.policy"),
    (lambda v: v["calibration"]["values"].update(sad=0.0), r"damaged, at calibration\.values"),
    (lambda v: v["calibration"]["values"].pop("sad"), "temperatures of other emotions"),
    (lambda v: v.update(task="single_label"), "decides for one emotion where clips"),
    (lambda v: v["settings"].update(heads=3), "settings of no mesm"),
    (lambda v: v["settings"].update(hidden="1"), "settings of no mesm"),
    (lambda v: v["arguments"].update(emotions=7), "a model of other emotions"),
    (lambda v: v["arguments"].update(unknown=7), "makes no mesm"),
    (lambda v: v["arguments"].update(p=2), "makes no mesm"),
    (lambda v: v["settings"].update(p=0.9), "settings of another model: p is 0.9"),
    (lambda v: v["settings"].update(modalities="ta"), "settings of another model: modalities"),
    (lambda v: v["calibration"]["values"].update(sad=1e-320), r"damaged, at calibration\.values"),
    (lambda v: v["calibration"]["notes"].update({"a\n\x1b[31m": "b"}), r"damaged, at 'calibration"),
    (lambda v: v["arguments"].update(hidden=16), "weights of another model"),
    (lambda v: v["arguments"].update(hidden=2**31 - 1), "weights of another model"),
    (lambda v: v["arguments"].update(hidden=2**31), "hidden must be at most"),
    (lambda v: v["arguments"].update(hidden=10**400), "hidden must be at most"),
    (lambda v: v["arguments"].update(channels=[2**30] * 4), "makes no mesm .*overflowed"),
    (lambda v: v["arguments"].update(channels=[4] * 100_000), "channels has 100000 entries"),
    (lambda v: v["arguments"].update(layers=10**9), "layers must be at most 1000"),
    (lambda v: v["arguments"].update(layers=1000), "weights of another model"),
    (lambda v: v["arguments"]["albert"].update(num_hidden_layers=10**8), "must be at most 1000"),
    (lambda v: v["arguments"]["albert"].update(inner_group_num=10**8), "must be at most 1000"),
    (lambda v: v["arguments"]["albert"].update(vocab_size=2**31 - 1), "weights of another model"),
    (
        lambda v: v["arguments"]["albert"].update(max_position_embeddings=2**31 - 1),
        "weights of another model",
    ),
    (lambda v: v["arguments"]["albert"].update(model_type="gpt2"), "makes no mesm .*decoder"),
    (
        lambda v: v["arguments"]["albert"].update(
            model_type="deberta-v2", auto_map={"AutoModel": "evil--model"}
        ),
        "weights of another model",
    ),
]


@pytest.mark.parametrize(("change", "said"), CONFIGS)
def test_made_up_settings_are_refused_at_once(change: Change, said: str, published: Path) -> None:
    began = time.process_time()
    resealed(published, change)
    refused(published, said)
    assert time.process_time() - began < 30  # 3 s for a thousand layers; 10**8 take days


@pytest.mark.parametrize("text", ["", "null", "[1]", "{", '{"format": NaN}', "[" * 100_000])
def test_other_json_is_refused(text: str, published: Path) -> None:
    (published / CONFIG).write_text(text)
    refused(published, r"config\.json")


def test_an_unsealed_config_is_refused(published: Path) -> None:
    values = json.loads((published / CONFIG).read_text())
    (published / CONFIG).write_text(json.dumps(values | {"threshold": {"policy": "mine"}}))
    refused(published, "its digest differs")
    for unsealed in ({n: v for n, v in values.items() if n != "digest"}, values | {"digest": None}):
        (published / CONFIG).write_text(json.dumps(unsealed))
        refused(published, "has no digest")


def test_a_key_that_stands_there_twice_is_refused(published: Path) -> None:
    for name in (CONFIG, PREPROCESSOR):
        whole = (published / name).read_text()
        values = json.loads(whole)
        key = "threshold" if name == CONFIG else "emotions"
        (published / name).write_text(f'{{"{key}": {json.dumps(values[key])},{whole[1:]}')
        if name == PREPROCESSOR:
            resealed(published)
        refused(published, f"{name}: the key '{key}' stands there twice")
        (published / name).write_text(whole)


PREPROCESSORS: list[tuple[Change, str]] = [
    (lambda v: v.update(spectrogram_std=0.0), "damaged, at spectrogram_std"),
    (lambda v: v.update(spectrogram_std=1e-300), "damaged, at spectrogram_std"),
    (lambda v: v.update(spectrogram_mean=1e300), "damaged, at spectrogram_mean"),
    (lambda v: v.update(spectrogram_mean="x"), "damaged, at spectrogram_mean"),
    (lambda v: v.update(lacking=["text"] * 1000), "damaged, at lacking: wanted names that differ"),
    (lambda v: v.update(emotions=[]), "damaged, at emotions"),
    (lambda v: v.update(emotions=["a"] * 6), "damaged, at emotions: wanted names that differ"),
    (lambda v: v["emotions"].__setitem__(0, "a\x1b[31m"), r"damaged, at emotions\.0"),
    (lambda v: v["emotions"].__setitem__(0, "x" * 201), r"damaged, at emotions\.0"),
    (lambda v: v["emotions"].pop(), "do not fit its emotions"),
    (lambda v: v.update(faces="all"), "damaged, at faces"),
    (lambda v: v.update(min_face_size=1), "damaged, at min_face_size"),
    (lambda v: v.update(sound="mel"), "damaged, at sound"),
    (lambda v: v.update(max_text_length=65), "texts of 65 subwords, the model knows 64 positions"),
    (lambda v: v.update(subwords="pretrained"), "does not say how texts are padded"),
    (lambda v: v["fixed"].update(hop=100), "inputs that this version of mesm does not make"),
    (lambda v: v["fixed"].update(more=1), "inputs that this version of mesm does not make"),
]


@pytest.mark.parametrize(("change", "said"), PREPROCESSORS)
def test_made_up_inputs_are_refused(change: Change, said: str, published: Path) -> None:
    changed(published, PREPROCESSOR, change)
    refused(published, said)


def _padded(strategy: Any, multiple: int | None = None) -> Change:
    padding = {
        **{"strategy": strategy, "direction": "Right", "pad_to_multiple_of": multiple},
        **{"pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
    }
    return lambda values: values.update(padding=padding)


def _special(values: dict[str, Any]) -> None:
    values["post_processor"]["special_tokens"]["[SEP]"]["ids"] = [10**6]


_CUT = {"direction": "Right", "strategy": "LongestFirst", "stride": 0}
TOKENIZERS: list[tuple[Change, str]] = [
    (_padded({"Fixed": 10**12}), "pads texts to a length of its own"),
    (_padded("BatchLongest", 10**9), "pads texts to a length of its own"),
    (_padded(7), "pads texts to a length of its own"),
    (lambda v: v.update(padding=[1]), "not a tokenizer"),
    (_special, "its post_processor is of another kind"),
    (
        lambda v: v.update(normalizer={"type": "Prepend", "prepend": "a" * 1100}),
        "may make texts more than 1024 times longer",
    ),
    (lambda v: v.update(normalizer=7), "not a tokenizer"),
    (
        lambda v: v.update(truncation={**_CUT, "max_length": 0}),
        "its truncation is of another kind",
    ),
    (
        lambda v: v["added_tokens"].append({**v["added_tokens"][0], "content": "a"}),
        "of another kind",
    ),
    (lambda v: v["model"].update(unk_id=None), "its model is of another kind"),
    (lambda v: v["model"]["vocab"].append(["more", -3.0]), "has subword .*, the model knows"),
    (lambda v: v["model"]["vocab"].clear(), "not a tokenizer of this project"),
    (lambda v: v.pop("model"), "not a tokenizer of this project"),
]


@pytest.mark.parametrize(("change", "said"), TOKENIZERS)
def test_made_up_subwords_are_refused(change: Change, said: str, published: Path) -> None:
    changed(published, TOKENIZER, change)
    refused(published, said)


def test_weights_are_looked_at_by_their_header_first(published: Path) -> None:
    whole = load_file(published / WEIGHTS)
    name = next(name for name, value in whole.items() if value.ndim == 2)
    other: list[tuple[dict[str, torch.Tensor], str]] = [
        ({n: v for n, v in whole.items() if n != name}, f"{name}' must be F32 .*, is nothing"),
        (whole | {"extra": torch.zeros(2)}, "'extra' must be nothing, is F32"),
        (whole | {name: whole[name].half()}, f"{name}' must be F32 .*, is F16"),
        (whole | {name: whole[name][:1].clone()}, f"{name}' must be F32"),
        (whole | {name: whole[name] / 0}, f"{name} holds values that are not finite"),
    ]
    for tensors, said in other:
        save_file(tensors, published / WEIGHTS)
        resealed(published)
        refused(published, said)
    # A header that promises a terabyte, in a file that has none of it.
    header = json.dumps({name: {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}})
    for text in (header, "{", header.replace("[0, 1", "[9, 1"), '{"a": 1}'):
        packed = struct.pack("<Q", len(text)) + text.encode()
        (published / WEIGHTS).write_bytes(packed)
        resealed(published)
        refused(published, "not a safetensors file, or damaged")
    # A header of so many names that reading them would take a gigabyte.
    text = json.dumps(
        {f"x{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(80_000)}
    )
    (published / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text.encode())
    resealed(published)
    refused(published, "names its tensors in .* bytes, wanted at most")
    (published / WEIGHTS).write_bytes(struct.pack("<Q", 2**62) + b"{}")
    resealed(published)
    refused(published, "not a safetensors file, or damaged")


def test_weights_of_another_length_are_not_hashed(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (published / WEIGHTS).open("r+b") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    monkeypatch.setattr("mesm.publishing.load.check_files", lambda *_: pytest.fail("hashed"))
    refused(published, "not a safetensors file, or damaged")


def test_memory_that_is_not_there_is_not_asked_for(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesm.publishing.load.memory_there_is", lambda: 1000)
    monkeypatch.setattr(
        "mesm.publishing.load.read_tensors", lambda *_: pytest.fail("tensors were read")
    )
    refused(published, r"model\.safetensors: loading it wants .* GiB, the memory is")


@pytest.mark.parametrize("name", [CONFIG, PREPROCESSOR, TOKENIZER])
def test_files_beyond_any_size_are_not_read(name: str, published: Path) -> None:
    with (published / name).open("r+b") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    refused(published, f"{name}: has {1 << 40} bytes, wanted at most")


def test_memory_that_no_weight_tells_of_is_counted(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DeBERTa keeps the number of each position, whose embedding may be left out."""
    from mesm.models import FE2E
    from tests.mesm.tiny_text import KINDS

    values = json.loads((published / CONFIG).read_text())
    encoder = {"model_type": "deberta", **KINDS["deberta"]}
    arguments = {**values["arguments"], "encoder": encoder, "modalities": "t"}
    for name in ("albert", "attention_dims", "p", "selection", "query", "query_shuffle"):
        arguments.pop(name, None)
    arguments.pop("local_start", None)
    model = FE2E(**arguments)
    save_file(dict(model.state_dict()), published / WEIGHTS)
    settings = {"name": "fe2e", "modalities": "t"}
    huge = {**arguments, "encoder": encoder | {"max_position_embeddings": 2**31 - 1}}
    change = {"system": "fe2e", "settings": settings, "arguments": huge}
    resealed(published, lambda v: v.update(change))
    monkeypatch.setattr("mesm.publishing.load.memory_there_is", lambda: 8 << 30)
    refused(published, r"loading it wants 32\.0 GiB, the memory is 8\.0 GiB")
