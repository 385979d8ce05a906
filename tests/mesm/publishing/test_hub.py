"""Up to a hub and down again, by its own client and a server on this machine."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from mesm.publishing.contents import CARD, FILES, WEIGHTS
from mesm.publishing.hub import download, hub_name, upload
from mesm.publishing.load import load_published
from tests.mesm.publishing.little_hub import TOKEN, LittleHub, little_hub

ROOT = Path(__file__).parents[3]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LittleHub]:
    with little_hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{repo_id}")
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", "".join((server.url, *template[1:]))
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
        # Its protocol for large files needs more servers; without it the hub takes LFS's.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


def test_names() -> None:
    assert hub_name("hub:me/model-1.0_x") == "me/model-1.0_x"
    assert hub_name("folder/hub:me") is None
    assert hub_name("./hub:me/x") is None
    for wrong in ("hub:", "hub:model", "hub:a/b/c", "hub:a/..", "hub:a/b c", "hub:/b", "hub:-a/b-"):
        with pytest.raises(ValueError, match="wanted hub:USER/NAME"):
            hub_name(wrong)


def test_what_goes_up_comes_down(published: Path, hub: LittleHub) -> None:
    (published / "thesis.txt").write_text("mine")
    (published / ".secret").write_text("mine")
    assert upload(published, "me/model") == f"{hub.url}/me/model"
    sent = hub.models["me/model"]
    assert set(sent) == set(FILES)
    assert all(data == (published / name).read_bytes() for name, data in sent.items())
    assert not hub.private["me/model"]
    assert hub.objects.keys() == {load_published(published).weights}  # by LFS
    wanted = ("repos/create", "validate-yaml", "preupload", "lfs/objects/batch", "PUT", "commit")
    for call in wanted:
        assert any(call in one for one in hub.calls), call
    hub.models["me/model"]["evil.py"] = b"raise SystemExit"
    folder = download("me/model")
    assert {file.name for file in folder.iterdir()} == set(FILES)
    assert load_published(folder).weights == load_published(published).weights
    # Without a way to the hub the cache is asked.
    hub.fail["/api/"] = (503, "down")
    assert download("me/model") == folder


def test_a_second_time_replaces_what_was_there(published: Path, hub: LittleHub) -> None:
    upload(published, "me/model", private=True)
    assert hub.private["me/model"]
    (published / CARD).write_text("---\nlicense: mit\n---\nother\n")
    upload(published, "me/model")
    assert hub.models["me/model"][CARD].endswith(b"other\n")


def test_nothing_goes_to_a_public_model_that_must_be_private(
    published: Path, hub: LittleHub
) -> None:
    upload(published, "me/model")
    hub.models["me/model"].clear()
    with pytest.raises(
        ValueError, match=r"hub:me/model: is there already, and public; .*--private"
    ):
        upload(published, "me/model", private=True)
    assert hub.models["me/model"] == {}
    upload(published, "me/other", private=True)
    upload(published, "me/other", private=True)
    assert set(hub.models["me/other"]) == set(FILES)


@pytest.mark.parametrize(
    ("call", "status", "said"),
    [
        ("/api/repos/create", 403, "log in with `hf auth login`"),
        ("/commit/", 400, "what is it"),
        ("/api/validate-yaml", 400, "Invalid metadata in README.md"),
    ],
)
def test_refusals_of_the_hub_are_told(
    call: str, status: int, said: str, published: Path, hub: LittleHub
) -> None:
    hub.fail[call] = (status, "what is it")
    with pytest.raises(ValueError, match=f"hub:me/model: {hub.url} says: ") as told:
        upload(published, "me/model")
    assert said in str(told.value)
    assert "\n" not in str(told.value)
    assert not hub.models.get("me/model")


def test_without_a_token_or_a_model_or_a_hub(
    published: Path, hub: LittleHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"hub:me/none: .*see whether the name is right"):
        download("me/none")
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(ValueError, match="log in with `hf auth login`, with a token that may"):
        upload(published, "me/model")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        ValueError, match=r"http://127\.0\.0\.1:9 says: .*see whether it can be reached"
    ):
        upload(published, "me/model")


def test_whose_failure_it_is(
    published: Path, hub: LittleHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(published, "me/model")
    hub.fail["/api/models/me/model"] = (403, "gated")
    with pytest.raises(ValueError, match="with a token that may read there"):
        download("me/model")
    hub.fail.clear()

    def full(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device", "cache")

    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    with pytest.raises(OSError, match="No space left"):
        download("me/model")


def test_damage_on_the_way_is_noticed(published: Path, hub: LittleHub) -> None:
    upload(published, "me/model")
    data = bytearray(hub.models["me/model"][WEIGHTS])
    data[-1] ^= 1
    hub.models["me/model"][WEIGHTS] = bytes(data)
    with pytest.raises(ValueError, match=r"model\.safetensors is not as it was written"):
        load_published(download("me/model"))


def test_the_command_sends_a_run_to_the_hub(legacy: Path, tmp_path: Path) -> None:
    with little_hub() as hub:
        command = ["publish", "runs/iemocap_fe2e", "hub:me/drawn-faces", "--private"]
        done = subprocess.run(
            [sys.executable, "-m", "mesm", *command, "--corpus", "corpora/iemocap"],
            env=os.environ
            | {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home")}
            | {"HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            cwd=legacy,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"{hub.url}/me/drawn-faces"
        assert hub.private == {"me/drawn-faces": True}
        folder = tmp_path / "down"
        folder.mkdir()
        for name, data in hub.models["me/drawn-faces"].items():
            (folder / name).write_bytes(data)
        assert b"# drawn-faces" in (folder / CARD).read_bytes()
        assert load_published(folder).settings.name == "fe2e"
