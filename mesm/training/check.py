"""Whether a training may use a folder."""

from __future__ import annotations

from mesm.config.experiment import ExperimentConfig
from mesm.config.files import differing_keys, load_config
from mesm.runs.folder import RunFolder


def check_run(config: ExperimentConfig, folder: RunFolder) -> list[str]:
    """Refuse a folder that holds something else than a run with these settings.

    Returns:
        The settings that differ from those of a run that diverged, in whose folder a training may
        start anew; else none.

    Raises:
        ValueError: names the settings that differ.
    """
    path = folder.path
    if not path.exists() or not any(path.iterdir()):
        return []
    if not folder.config.is_file():
        # A first start that was killed leaves only files that will be written again.
        files = (
            folder.tokenizer,
            folder.features,
            folder.model_arguments,
            folder.log,
            folder.error,
        )
        ours = (*(file.name for file in files), ".")
        if not all(entry.name.startswith(ours) for entry in path.iterdir()):
            raise ValueError(f"{path}: holds files but is no run; choose another folder")
        return []
    differing = differing_keys(load_config(folder.config), config)
    if differing and not folder.diverged.is_file():
        raise ValueError(
            f"{path}: this run has other settings: {', '.join(differing)}; "
            "choose another folder, or the settings in its config.yaml"
        )
    return differing
