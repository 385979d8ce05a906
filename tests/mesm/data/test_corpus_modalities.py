"""Which modalities a model reads where the settings do not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesm.config.files import load_config
from mesm.corpora.manifest import Manifest, read_manifest
from mesm.data.corpus_modalities import with_modalities_of


def manifest_of(corpus: Path, modalities: str) -> Manifest:
    manifest = read_manifest(corpus)
    assert manifest is not None
    return manifest.model_copy(update={"modalities": modalities})


@pytest.mark.parametrize("modalities", ["tav", "ta", "tv", "av", "t", "a", "v"])
@pytest.mark.parametrize("name", ["own_fe2e", "iemocap_lf_lstm"])
def test_those_of_the_corpus_where_none_are_written(
    tiny_corpus: Path, name: str, modalities: str
) -> None:
    config = load_config(name, [f"corpus={tiny_corpus}"])
    found = with_modalities_of(config, manifest_of(tiny_corpus, modalities))
    assert found.model.modalities == modalities
    rest = {"modalities": config.model.modalities}
    assert found.model_copy(update={"model": found.model.model_copy(update=rest)}) == config


def test_those_that_are_written_stay(tiny_corpus: Path) -> None:
    config = load_config("own_fe2e", [f"corpus={tiny_corpus}", "model.modalities=t"])
    assert with_modalities_of(config, manifest_of(tiny_corpus, "ta")) is config
    config = load_config("own_fe2e", [f"corpus={tiny_corpus}", "model.modalities=tav"])
    wanted = (
        r"model\.modalities: no training clip of .* has sound, got 'tav'; leave it out, and the "
        "model reads 'tv'"
    )
    with pytest.raises(ValueError, match=wanted):
        with_modalities_of(config, manifest_of(tiny_corpus, "tv"))


def test_mesm_needs_its_query(tiny_corpus: Path) -> None:
    config = load_config("own_mesm", [f"corpus={tiny_corpus}"])
    for there, mend in (
        ("av", r"choose model\.query=face or model\.query=audio, or train FE2E"),
        ("a", r"choose model\.query=audio, or train FE2E"),
    ):
        wanted = rf"model\.query: no training clip of .* has text, which would ask .*; {mend}"
        with pytest.raises(ValueError, match=wanted):
            with_modalities_of(config, manifest_of(tiny_corpus, there))
    config = load_config("own_mesm", [f"corpus={tiny_corpus}", "model.query=face"])
    assert with_modalities_of(config, manifest_of(tiny_corpus, "av")).model.modalities == "av"


def test_mult_needs_two(tiny_corpus: Path) -> None:
    config = load_config("own_mult", [f"corpus={tiny_corpus}"])
    with pytest.raises(ValueError, match=r"has the modalities 't': .*at least two modalities"):
        with_modalities_of(config, manifest_of(tiny_corpus, "t"))


def test_a_fold_reads_what_any_split_has(tiny_corpus: Path) -> None:
    manifest = manifest_of(tiny_corpus, "t")
    config = load_config("own_fe2e", [f"corpus={tiny_corpus}", "fold.by=speaker", "fold.index=1"])
    assert with_modalities_of(config, manifest).model.modalities == "tav"
    clips = [f"c{place}" for place in range(sum(c.clips for c in manifest.counts.values()))]
    mute = manifest.model_copy(update={"without": {"sound": clips, "pictures": clips[1:]}})
    assert with_modalities_of(config, mute).model.modalities == "tv"
