"""Whether a training may use a folder, and go on in it."""

from __future__ import annotations

from typing import Any

from mesm.config.experiment import ExperimentConfig
from mesm.config.files import differing_keys, load_config
from mesm.data.corpus_folder import kept_place
from mesm.models.build import differing_arguments
from mesm.runs.checkpoints import read_arguments
from mesm.runs.folder import RunFolder


def check_run(config: ExperimentConfig, folder: RunFolder, content: str | None = None) -> list[str]:
    """Refuse a folder that holds something else than a run with these settings.

    Args:
        config: the settings.
        folder: that may hold a run.
        content: `PreparedCorpus.content` of their corpus, by which a run knows its own wherever it
            lies; None: it cannot be read. The place counts then, and in earlier runs.

    Returns:
        The settings that differ from those of a run that diverged, in whose folder a training may
        start anew; else none.

    Raises:
        ValueError: names the settings that differ, or says that the corpus does.
    """
    path = folder.path
    if not path.exists() or not any(path.iterdir()):
        return []
    if not folder.config.is_file():
        # A first start that was killed leaves only files that will be written again.
        files = (
            folder.tokenizer,
            folder.features,
            folder.fold,
            folder.corpus,
            folder.teacher,
            folder.preprocessing,
            folder.model_arguments,
            folder.log,
            folder.error,
        )
        ours = (*(file.name for file in files), ".")
        if not all(entry.name.startswith(ours) for entry in path.iterdir()):
            raise ValueError(f"{path}: holds files but is no run; choose another folder")
        return []
    own, kept = load_config(folder.config), kept_place(folder)
    begun_on = None if kept is None or content is None else kept["identity"]
    if begun_on is not None:
        own = own.model_copy(update={"corpus": config.corpus})
    differing = differing_keys(own, config)
    if begun_on not in (None, content):
        if not differing and not folder.diverged.is_file():
            raise ValueError(
                f"{path}: was trained on another corpus than {config.corpus} is now; prepare that "
                "one again, or choose another folder for the run"
            )
        differing.append(f"corpus ({config.corpus} holds another than it was begun on)")
    if differing and not folder.diverged.is_file():
        raise ValueError(
            f"{path}: this run has other settings: {', '.join(differing)}; "
            "choose another folder, or the settings in its config.yaml"
        )
    return differing


def missing_start(config: ExperimentConfig) -> list[str]:
    """Pretrained weights that the settings name and that are not there, in words."""
    # Only the end-to-end systems start from such weights.
    text, vgg11 = getattr(config.model, "text", None), getattr(config.model, "vgg11", None)
    found = []
    if text is not None and text.path is not None and not text.path.is_dir():
        found.append(f"model.text.path: {text.path} is no folder")
    if vgg11 is not None and not vgg11.is_file():
        found.append(f"model.vgg11: {vgg11} is no file")
    return found


def check_arguments(config: ExperimentConfig, folder: RunFolder, arguments: dict[str, Any]) -> None:
    """Refuse, with a ValueError, to go on with another model than the one that the run began with.

    Args:
        config: the settings.
        folder: of the run.
        arguments: that its model would be made with now.
    """
    try:
        kept = read_arguments(folder)
    except ValueError:
        return  # is made again
    differing = differing_arguments(kept, arguments)
    if not differing:
        return
    text = getattr(config.model, "text", None)
    place = f" than {text.path / 'config.json'} has now" if text and text.path else ""
    raise ValueError(
        f"{folder.model_arguments}: the run began with another {', '.join(differing)}"
        f"{place}; put that back as it was, or choose another folder for the run"
    )
