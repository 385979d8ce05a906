"""A trained or published model without its corpus: weights, subwords, statistics and decisions."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import torch

from mesm.config.end_to_end import FE2ESettings
from mesm.config.experiment import ExperimentConfig
from mesm.config.modalities import Modality
from mesm.data.clips import Collate
from mesm.data.preprocessing import Preprocessing
from mesm.data.text_choice import saved_subwords
from mesm.evaluation.calibration import Temperatures
from mesm.evaluation.kept import kept_thresholds
from mesm.evaluation.metrics import Thresholds
from mesm.evaluation.run import Run
from mesm.evaluation.single_label import MostProbable
from mesm.evaluation.task import MULTI_LABEL, SINGLE_LABEL, Decider, Task, task_of
from mesm.inputs.face_detector import usable_device
from mesm.models.build import restore_model
from mesm.models.late_fusion import LateFusionModel
from mesm.models.registry import SYSTEMS
from mesm.publishing.contents import CONFIG, is_published
from mesm.publishing.hub import download, hub_name
from mesm.publishing.load import PublishedModel, load_published
from mesm.runs.checkpoints import MEND
from mesm.runs.documents import Evaluation
from mesm.runs.files import read_json
from mesm.runs.folder import RunFolder
from mesm.runs.hashes import sha256
from mesm.runs.ordinary import not_a_file

# The word that names the model which comes with the library; and where that lies.
DEMO = "demo"
DEMO_MODEL = Path(__file__).parents[1] / "demo_model"


@dataclass(frozen=True)
class Trained:
    """All that predictions need of a run or a published model.

    Attributes:
        path: its folder.
        settings: of its model.
        model: in evaluation mode, on its device.
        collate: samples to batches.
        preprocessing: how media become samples.
        task: one emotion a clip or several.
        decider: makes decisions of logits.
        temperatures: for calibrated probabilities; None: none are kept.
        weights: SHA-256 of its weights.
        notes: what whoever reads its predictions must know.
    """

    path: Path
    settings: FE2ESettings
    model: LateFusionModel
    collate: Collate
    preprocessing: Preprocessing
    task: Task
    decider: Decider
    temperatures: Temperatures | None
    weights: str
    notes: tuple[str, ...] = ()

    @property
    def emotions(self) -> tuple[str, ...]:
        """E names, in the order of the logits."""
        return self.preprocessing.emotions

    @property
    def name(self) -> str:
        """Its folder, or that it is the library's demo model."""
        return "mesm's demo model" if self.path == DEMO_MODEL else str(self.path)

    @property
    def title(self) -> str:
        """The system's name in tables."""
        return self.settings.title

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def reads(self) -> tuple[str, ...]:
        """Those of "text", "sound" and "pictures" that its model reads."""
        return tuple(m.content for m in Modality if m.letter in self.model.modalities)


def load_trained(place: Path | str, device: torch.device | str | None = None) -> Trained:
    """Load a run or a published model; a corpus is only asked for what earlier runs did not keep.

    Args:
        place: a run's folder, a folder of `mesm publish`, "hub:USER/NAME", or the word "demo" for
            the model that comes with the library (`Path("demo")` and "./demo" are folders).
        device: where the model goes; None: to the GPU if there is one.

    Raises:
        ValueError: the folder is neither, is damaged, is of a system that reads hand-crafted
            features, or lacks statistics that its corpus, which is not there, would have; the hub
            has no such model; "demo" is a run's folder here, too; or there is no such device.
    """
    if device is not None:
        usable_device(str(device))
    path = _folder_of(place)
    if _is_published(path):
        return _of_published(load_published(path, device or _best_device()))
    folder = RunFolder(path)
    for file in (folder.config, folder.model_arguments, folder.best):
        if not file.is_file():
            raise ValueError(
                f"{path}: no trained run, {file.name} {not_a_file(file)}; name the folder of a run "
                f"of `mesm train`, or {DEMO}, the model that comes with mesm"
            )
    run = Run(folder.path, device=device)
    config = run.config
    settings = config.model
    if not isinstance(settings, FE2ESettings):
        systems = [name for name, one in SYSTEMS.items() if issubclass(one.settings, FE2ESettings)]
        raise ValueError(
            f"{path}: its system, {settings.title}, reads hand-crafted features (GloVe, DisVoice, "
            "OpenFace), which `mesm features` makes of prepared corpora and nobody of a recording; "
            f"name a run of {' or '.join(systems)}"
        )
    preprocessing = Preprocessing.read(folder) or _of_corpus(run)
    model, arguments = restore_model(settings.name, folder)
    assert isinstance(model, LateFusionModel)
    if arguments["emotions"] != len(preprocessing.emotions):
        raise ValueError(
            f"{folder.preprocessing}: names {len(preprocessing.emotions)} emotions, the model "
            f"tells {arguments['emotions']} apart; {MEND}"
        )
    weights = sha256(folder.best)
    task = task_of(config.training.loss, preprocessing.single_label)
    decider, notes = _decider(run, config, task, preprocessing.emotions, weights)
    return Trained(
        path=folder.path,
        settings=settings,
        model=model.to(run.device).eval(),
        collate=Collate(saved_subwords(settings.text, folder), settings.text.max_length),
        preprocessing=preprocessing,
        task=task,
        decider=decider,
        temperatures=task.temperatures.read(folder, weights, preprocessing.emotions),
        weights=weights,
        notes=notes,
    )


def _folder_of(place: Path | str) -> Path:
    """The folder that `load_trained` is to look into."""
    if place == DEMO:  # no Path is
        own = RunFolder(Path(DEMO))
        if own.config.is_file() or _is_published(own.path):
            raise ValueError(
                f"{DEMO} names the model that comes with mesm, and a run's folder here; write "
                f"./{DEMO} for the folder, or call mesm from another one"
            )
        return DEMO_MODEL
    name = hub_name(str(place))
    return Path(place) if name is None else download(name)


def _is_published(path: Path) -> bool:
    """Whether to look into a folder as into a published one, which may be anybody's."""
    return is_published(path) or (not (path / "config.yaml").exists() and (path / CONFIG).is_file())


def _best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _of_published(found: PublishedModel) -> Trained:
    read = found.preprocessing
    values = {field.name: getattr(read, field.name) for field in fields(Preprocessing)}
    values |= {name: tuple(values[name]) for name in ("emotions", "lacking")}
    return Trained(
        path=found.path,
        settings=found.settings,
        model=found.model,
        collate=found.collate,
        preprocessing=Preprocessing(**values),
        task=SINGLE_LABEL if isinstance(found.decider, MostProbable) else MULTI_LABEL,
        decider=found.decider,
        temperatures=found.temperatures,
        weights=found.weights,
    )


def _of_corpus(run: Run) -> Preprocessing:
    try:
        return Preprocessing.of(run.corpus)
    except ValueError as error:
        raise ValueError(
            f"{run.path}: is an earlier run, which kept no statistics of its corpus, and {error}"
        ) from error


def _decider(
    run: Run, config: ExperimentConfig, task: Task, emotions: tuple[str, ...], weights: str
) -> tuple[Decider, tuple[str, ...]]:
    """The maker of decisions that the run's settings ask for, by the first place that has it."""
    policy = config.evaluation.threshold
    if not task.needs_validation(policy):
        return task.decider(policy, len(emotions), lambda: run.predict("valid")), ()
    kept = kept_thresholds(run.folder, weights, policy, emotions) or _scored(run, emotions, weights)
    if kept is not None:
        return kept, ()
    try:
        return run.thresholds(), ()
    except (ValueError, OSError) as error:
        note = f"thresholds are 0.5: the run keeps no tuned ones, and cannot tune them ({error})"
        return Thresholds.half(len(emotions)), (note,)


def _scored(run: Run, emotions: tuple[str, ...], weights: str) -> Thresholds | None:
    """The tuned thresholds by which `mesm evaluate` scored the weights, in earlier runs."""
    policies = {"tuned": "tuned on validation F1", "tuned_wacc": "tuned on validation WAcc"}
    wanted = policies[run.config.evaluation.threshold]
    for scores in (read_json(run.folder.evaluation, Evaluation) or {}).values():
        threshold, scored = scores.get("threshold"), scores.get("weights")
        same = isinstance(scored, dict) and scored.get("sha256") == weights
        if threshold and same and threshold["policy"] == wanted:
            values = threshold.get("values", {})
            if list(values) == list(emotions):
                return Thresholds(wanted, tuple(values.values()))
    return None
