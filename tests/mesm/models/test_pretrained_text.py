"""Encoders of texts out of local folders, beside transformers' own reading of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModel, AutoModelForMaskedLM, BertModel

from mesm.models.pretrained_text import load_text, read_pretrained
from mesm.models.text import BROADCAST, TextEncoder
from tests.mesm.tiny_text import KINDS, VOCABULARY, make_model, write_text_model

LENGTHS = (6, 4, 1)


def read(folder: Path, freeze: bool = False) -> TextEncoder:
    encoder = TextEncoder(read_pretrained(folder).settings, freeze).eval()
    load_text(encoder, folder)
    return encoder


def rows(encoder: TextEncoder, longest: int = 6) -> tuple[Tensor, Tensor]:
    """Texts of `LENGTHS` subwords, padded."""
    generator = torch.Generator().manual_seed(3)
    mask = torch.arange(longest) < torch.tensor(LENGTHS)[:, None]
    ids = torch.randint(4, VOCABULARY, (len(LENGTHS), 6), generator=generator)
    ids = torch.nn.functional.pad(ids, (0, longest - 6))
    return ids.where(mask, encoder.transformer.config.pad_token_id), mask


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_text_model(tmp_path / "bert", "bert")


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_vectors_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    write_text_model(tmp_path, kind)
    encoder = read(tmp_path)
    ids, mask = rows(encoder)
    model = AutoModel.from_pretrained(tmp_path).eval()
    wanted = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state[:, 0]
    found = encoder(ids, mask)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    assert (encoder.dim, encoder.vocabulary) == (12, VOCABULARY)
    # Texts alone, and with more padding: float32's rounding is 1e-7 of numbers near 1.
    close = {"rtol": 0, "atol": 2e-6}
    wide = encoder(*rows(encoder, 20))
    torch.testing.assert_close(wide, wanted, **close)
    for text, (row, length) in enumerate(zip(ids, LENGTHS, strict=True)):
        alone = encoder(row[None, :length], mask[text][None, :length])
        torch.testing.assert_close(alone[0], wanted[text], **close)
    assert float((found[0] - found[1]).abs().max()) > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_all_weights_but_the_poolers_learn(kind: str, tmp_path: Path) -> None:
    make_model(kind).save_pretrained(tmp_path)
    encoder = TextEncoder(read_pretrained(tmp_path).settings)
    encoder(*rows(encoder)).square().sum().backward()
    assert [name for name, value in encoder.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    write_text_model(tmp_path, kind)
    encoder = read(tmp_path)
    ids, mask = rows(encoder)
    wanted = encoder(ids, mask)
    with torch.autocast("cpu", dtype):
        found = encoder(ids, mask)
    found.float().square().sum().backward()
    # Two layers of rounding to 8 bits, of numbers up to 3.
    torch.testing.assert_close(found.float(), wanted, rtol=0, atol=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_texts_as_long_as_there_are_positions(kind: str, tmp_path: Path) -> None:
    make_model(kind).save_pretrained(tmp_path)
    found = read_pretrained(tmp_path)
    # RoBERTa's first position comes after that of its padding, subword 1.
    assert found.positions == (62 if kind == "roberta" else 64)
    assert found.skipped == (1 if kind == "roberta" else None)
    encoder = TextEncoder(found.settings).eval()
    longest = torch.full((1, found.positions), 5)
    assert encoder(longest, longest > 0).isfinite().all()
    longer = torch.full((1, found.positions + 1), 5)
    with pytest.raises(ValueError, match=f"must have 1 to {found.positions} subwords"):
        encoder(longer, longer > 0)


def test_settings_are_json_and_make_the_same_encoder_again(tmp_path: Path) -> None:
    for kind in KINDS:
        write_text_model(tmp_path / kind, kind)
        settings = read_pretrained(tmp_path / kind).settings
        again = TextEncoder(json.loads(json.dumps(settings)))
        weights = read(tmp_path / kind).state_dict()
        again.load_state_dict(weights)
        name = "albert" if kind == "albert" else "encoder"
        assert all(key.startswith(f"{name}.") for key in weights)
        assert not {"transformers_version", "architectures", "dtype"} & set(settings)


def test_kinds_whose_mask_is_broadcast() -> None:
    assert set(KINDS) - BROADCAST == {"deberta", "deberta-v2"}


def test_options_of_a_former_use_do_not_matter(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ids, mask = rows(read(folder))
    wanted = read(folder)(ids, mask)
    options = {"return_dict": False, "output_attentions": True, "gradient_checkpointing": True}
    options |= {"attn_implementation": "someone/code", "torch_dtype": "float16"}
    change(folder, **options)
    capfd.readouterr()
    torch.testing.assert_close(read(folder)(ids, mask), wanted, rtol=0, atol=0)
    assert capfd.readouterr() == ("", "")  # neither a bar nor a report of the pooler


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision_become_float32(folder: Path, dtype: torch.dtype) -> None:
    file = folder / "model.safetensors"
    kept = {name: value.to(dtype) for name, value in load_file(file).items()}
    save_file(kept, file, {"format": "pt"})
    found = read(folder).state_dict()
    for name, value in kept.items():
        if not name.startswith("pooler"):
            assert torch.equal(found[f"encoder.{name}"], value.float())


def test_weights_with_a_head_and_in_several_files(folder: Path, tmp_path: Path) -> None:
    wanted = read(folder).state_dict()
    head = AutoModelForMaskedLM.from_pretrained(folder)
    for name, options in (("head", {}), ("split", {"max_shard_size": "4KB"})):
        head.save_pretrained(tmp_path / name, **options)
        found = read(tmp_path / name).state_dict()
        assert all(torch.equal(value, found[key]) for key, value in wanted.items())
    parts = sorted((tmp_path / "split").glob("model-*.safetensors"))
    assert len(parts) > 3
    parts[1].unlink()
    with pytest.raises(ValueError, match=f"index.json: names {parts[1].name}, which is not there"):
        read(tmp_path / "split")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "not JSON .wanted keys and values, got list"),
        ("null", "not JSON .wanted keys and values, got NoneType"),
        ("[" * 100_000, "not JSON"),
        ("{}", "wanted weight_map with a file's name for each weight"),
        ('{"weight_map": [1]}', "wanted weight_map with a file's name for each weight"),
        ('{"weight_map": {"a": 1}}', "wanted weight_map with a file's name for each weight"),
        ('{"weight_map": {"a": "../model.safetensors"}}', "which is not beside it"),
        ('{"weight_map": {"a": "/model.safetensors"}}', "which is not beside it"),
        ('{"weight_map": {"a": ".."}}', "which is not beside it"),
    ],
)
def test_damaged_indices_of_weights(folder: Path, content: str, message: str) -> None:
    encoder = read(folder)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ValueError, match=r"model\.safetensors\.index\.json: .*" + message):
        load_text(encoder, folder)


def test_a_link_to_nothing(folder: Path) -> None:
    encoder = read(folder)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("../blobs/abc")
    with pytest.raises(
        ValueError, match=r"is a link to \.\./blobs/abc, which is not there; copy what"
    ):
        load_text(encoder, folder)


def test_a_frozen_encoder(folder: Path) -> None:
    encoder = read(folder, freeze=True).train()
    ids, mask = rows(encoder)
    found = encoder(ids, mask)
    assert not found.requires_grad
    assert torch.equal(found, read(folder)(ids, mask))
    assert not any(value.requires_grad for value in encoder.parameters())
    assert not any(module.training for module in encoder.modules())
    assert not torch.equal(read(folder).train()(ids, mask), found)  # dropout


def change(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_size": "wide"}, "not the settings of a bert"),
        ({"hidden_size": 13}, "must be divisible by num_attention_heads = 2"),
        ({"num_hidden_layers": 2**40}, "num_hidden_layers must be at most 1000"),
        ({"intermediate_size": 2**40}, "intermediate_size must be at most 2147483647"),
        ({"vocab_size": 0}, "vocab_size must be a positive whole number"),
        ({"type_vocab_size": 0}, "type_vocab_size must be a positive whole number"),
        ({"pad_token_id": 20}, "pad_token_id must be 0 to 19, got 20"),
        ({"hidden_act": "NaN"}, "not the settings of a bert"),
        ({"hidden_dropout_prob": 2.0}, "not the settings of a bert"),
    ],
)
def test_settings_that_make_no_encoder(folder: Path, values: Any, message: str) -> None:
    change(folder, **values)
    with pytest.raises(ValueError, match=rf"config\.json: .*{message}"):
        read_pretrained(folder)


@pytest.mark.parametrize("kind", ["distilbert", "deberta-v2"])
def test_sizes_under_other_names(kind: str, tmp_path: Path) -> None:
    make_model(kind).save_pretrained(tmp_path)
    name = "n_layers" if kind == "distilbert" else "num_hidden_layers"
    change(tmp_path, **{name: 1001})
    with pytest.raises(ValueError, match=rf"config\.json: .*{name} must be at most 1000, got 1001"):
        read_pretrained(tmp_path)


def cut(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in weights.items() if not k.startswith("encoder.layer.1.output.")}


def infinite(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return weights | {"embeddings.LayerNorm.bias": torch.full((12,), torch.inf)}


def relative(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return weights | {"encoder.layer.0.attention.self.distance_embedding.weight": torch.ones(3, 6)}


def quantized(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return weights | {"encoder.layer.0.output.dense.weight": torch.ones(12, 16).to(torch.int8)}


def wide(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return weights | {"embeddings.word_embeddings.weight": torch.ones(41, 12)}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "not its bert's: encoder.layer.1.output.* missing"),
        (infinite, "embeddings.LayerNorm.bias holds values that are not finite"),
        (relative, "config.json has no place for .*distance_embedding"),
        (quantized, r"output\.dense\.weight is I8, wanted .*: its weights are quantized"),
        (wide, r"does not fit the text encoder; differs in \['embeddings.word_embeddings.weight"),
        (lambda _: {}, "not its bert's: .* are missing"),
    ],
)
def test_weights_that_are_not_the_encoders(
    folder: Path, damage: Callable[[Any], Any], message: str
) -> None:
    file = folder / "model.safetensors"
    save_file(damage(load_file(file)), file, {"format": "pt"})
    with pytest.raises(ValueError, match=f"{folder}.*{message}"):
        read(folder)


def test_more_layers_than_config_says(folder: Path) -> None:
    change(folder, num_hidden_layers=1)
    with pytest.raises(ValueError, match=r"has no place for .*encoder\.layer\.1\."):
        read(folder)


def test_damaged_and_missing_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    for content in (b"", b"nonsense", b"\0" * 100):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="its weights cannot be read"):
            read(folder)
    file.unlink()
    with pytest.raises(ValueError, match=r"cannot be read \(there are none\); model\.text\.path"):
        read(folder)
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin: a pickle, .*save_pretrained"):
        read(folder)


def test_what_padding_changes_is_no_encoder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = BertModel.forward

    def blind(self: Any, input_ids: Tensor, **_: Any) -> Any:
        return forward(self, input_ids=input_ids)

    monkeypatch.setattr(BertModel, "forward", blind)
    with pytest.raises(ValueError, match="this bert gives a text another vector where padding"):
        read(folder)

    def deaf(self: Any, input_ids: Tensor, **_: Any) -> Any:
        found = forward(self, input_ids=input_ids[:, :1])
        found.last_hidden_state = found.last_hidden_state.expand(-1, input_ids.shape[1], -1)
        return found

    monkeypatch.setattr(BertModel, "forward", deaf)
    with pytest.raises(ValueError, match="does not depend on the subwords after"):
        read(folder)


def test_faults_of_our_own_are_not_taken_for_damage(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = TextEncoder(read_pretrained(folder).settings)
    monkeypatch.setattr(BertModel, "from_pretrained", lambda *_, **__: encoder.no_such_thing)
    with pytest.raises(AttributeError):
        load_text(encoder, folder)
