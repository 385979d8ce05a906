"""Words out of sound, by a speech-recognition model in a local folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mesm.inference.recording import InputError
from mesm.inputs.spectrograms import SAMPLE_RATE
from mesm.runs.ordinary import check_contents, not_a_file

WANTED = (
    "wanted the folder of a speech-recognition model of transformers (Whisper, wav2vec 2.0, ...), "
    "with config.json, its preprocessor, tokenizer and safetensors"
)
# Seconds; shorter pieces hold no word, and models refuse sounds shorter than their first layers.
SHORTEST = 0.1
# Seconds that Whisper's encoder takes in; of longer sounds it must write times, too.
WHISPERS = 30


class Transcriber:
    """Says what is spoken in a waveform; nothing is fetched, and no code of the folder is run."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Load the model.

        Args:
            folder: see `WANTED`.
            device: where it runs.

        Raises:
            InputError: the folder holds no such model; names it.
        """
        if not folder.is_dir():
            found = "is a file" if folder.is_file() else not_a_file(folder)
            raise InputError(f"--transcribe {folder} {found}; {WANTED}")
        if not (folder / "config.json").is_file():
            raise InputError(f"--transcribe {folder} has no config.json; {WANTED}")
        self.folder = folder
        try:
            check_contents(folder)
            from transformers import pipeline

            self._pipeline: Any = pipeline(
                "automatic-speech-recognition",
                model=str(folder),
                device=device,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
        # Every kind of model stumbles over a damaged folder in its own way.
        except Exception as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise InputError(
                f"--transcribe {folder} cannot be loaded ({reason}); {WANTED}"
            ) from error

    def __call__(self, waveform: npt.NDArray[np.float32]) -> str:
        """The words of a waveform (n,) at 16 kHz; empty: none were heard.

        Raises:
            InputError: the model cannot read it.
        """
        if len(waveform) < SHORTEST * SAMPLE_RATE:
            return ""
        options: dict[str, Any] = {}
        if self._pipeline.type == "seq2seq_whisper" and len(waveform) > WHISPERS * SAMPLE_RATE:
            options["return_timestamps"] = True  # by which Whisper goes on beyond its window
        try:
            given = {"raw": waveform.copy(), "sampling_rate": SAMPLE_RATE}
            found = self._pipeline(given, **options)
        except (ValueError, RuntimeError, IndexError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"--transcribe {self.folder} failed ({reason}); {WANTED}") from error
        return " ".join(str(found["text"]).split())
