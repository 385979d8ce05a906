"""The modalities that a model reads: those of the settings, or all that the corpus has."""

from __future__ import annotations

from mesm.config.end_to_end import MESMSettings
from mesm.config.experiment import ExperimentConfig
from mesm.config.files import parse_config
from mesm.config.modalities import ATTENDED, Modality
from mesm.corpora.manifest import Manifest


def with_modalities_of(config: ExperimentConfig, manifest: Manifest) -> ExperimentConfig:
    """Settings whose model reads what clips of the corpus' training split have.

    With a fold, whose training split is another, what any clip of the corpus has.

    Args:
        config: settings; `model.modalities` stays where it was written.
        manifest: of the corpus that they are for.

    Returns:
        The same settings, with the corpus' modalities where none were written.

    Raises:
        ValueError: the settings name a modality that no training clip has, or the model cannot do
            with those there are; says what to write.
    """
    model = config.model
    there = manifest.modalities if config.fold is None else _of_any_split(manifest)
    if there == model.modalities:
        return config
    missing = [m for m in Modality if m.letter not in there]
    if "modalities" in model.model_fields_set:
        lacking = [m.content for m in missing if m.letter in model.modalities]
        if lacking:
            raise ValueError(
                f"model.modalities: no training clip of {config.corpus} has {' or '.join(lacking)},"
                f" got {model.modalities!r}; leave it out, and the model reads {there!r}"
            )
        return config
    asks = [
        m.content for m in missing if isinstance(model, MESMSettings) and model.query == m.media
    ]
    if asks:
        others = " or ".join(f"model.query={m.media}" for m in ATTENDED if m.letter in there)
        mend = f"choose {others}, or train FE2E" if others else "train FE2E"
        raise ValueError(
            f"model.query: no training clip of {config.corpus} has {asks[0]}, which would ask "
            f"mesm's attention; {mend}"
        )
    values = config.model_dump(mode="json")
    values["model"]["modalities"] = there
    return parse_config(values, f"{config.corpus} has the modalities {there!r}")


def _of_any_split(manifest: Manifest) -> str:
    clips = sum(counts.clips for counts in manifest.counts.values())
    there = [m for m in Modality if len(manifest.without.get(m.content, [])) < clips]
    return "".join(m.letter for m in there)
