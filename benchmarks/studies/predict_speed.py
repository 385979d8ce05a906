"""How fast recordings are predicted: a clip of ten seconds, and an hour; each part apart.

The recordings have 640x360 pixels at 30 a second, with a drawn face, and sound at 48 kHz; the hour
is one film over and over. The clip is predicted by a MESM of the paper's sizes, the hour by the run
that is named. Faces are compared with facenet-pytorch's MTCNN, whose boxes must be ours; where its
torchvision is not installed, the suppression of boxes that it takes from there is ours, too.

    python -m benchmarks.studies.predict_speed          # some minutes on 2 idle cores
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from benchmarks.environment import ROOT, environment
from benchmarks.report import write_json
from mesm.corpora.miniature.generate import generate
from mesm.corpora.miniature.media import VIDEOS
from mesm.corpora.mosei import read_mosei
from mesm.corpora.table.example import join
from mesm.inference.cutting import Words, cut
from mesm.inference.pipeline import Pipeline
from mesm.inference.recording import open_recording
from mesm.inputs.boxes import suppress
from mesm.inputs.face_detector import FaceDetector
from mesm.inputs.faces import sampling_instants
from mesm.inputs.spectrograms import log_mel
from mesm.inputs.video import frames_at
from mesm.inputs.waveforms import read_waveform
from mesm.models import MESM
from mesm.runs.memory import keep_freed_pages

RESULTS = ROOT / "benchmarks/results/predict-speed.json"
FILMED = replace(VIDEOS["mosei"], width=640, height=360, rate=Fraction(30))
SECONDS, REPEATS = 10.0, 5
# A process of its own, whose memory is that of the hour alone.
HOUR = """
import json, resource, sys, time
from mesm import Pipeline
from mesm.runs.memory import keep_freed_pages
keep_freed_pages()
pipeline = Pipeline.from_pretrained(sys.argv[1], "cpu")
start, before = time.perf_counter(), time.process_time()
pieces = sum(1 for _ in pipeline.stream(sys.argv[2]))
wall, cpu = time.perf_counter() - start, time.process_time() - before
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"pieces": pieces, "wall_s": wall, "cpu_s": cpu, "peak_mib": peak / 1024}))
"""


def recording(folder: Path) -> Path:
    """A generated video with its sound, of at least ten seconds."""
    generate(folder / "raw", clips=8, seed=0, layout="mosei", video=FILMED)
    clips = {clip.dialog: clip for clip in read_mosei(folder / "raw").utterances}
    lengths = {}
    for name, clip in clips.items():
        assert clip.video is not None
        assert clip.audio is not None
        join(clip.video, clip.audio, folder / f"{name}.mp4")
        lengths[name] = open_recording(folder / f"{name}.mp4").seconds
    return folder / f"{max(lengths, key=lambda name: lengths[name])}.mp4"


def repeated(source: Path, out: Path, seconds: float) -> Path:
    """The packets of a recording over and over, until it lasts so long; nothing is encoded."""
    with av.open(str(out), "w") as target:
        streams: dict[int, Any] = {}
        shift, length = 0.0, _length_of_packets(source)
        while shift < seconds:
            with av.open(str(source)) as container:
                for stream in container.streams:
                    if stream.index not in streams:
                        streams[stream.index] = target.add_stream_from_template(stream)
                for packet in container.demux():
                    if packet.dts is None or packet.time_base is None or packet.pts is None:
                        continue
                    if shift + float(packet.pts * packet.time_base) >= seconds:
                        continue
                    moved = round(shift / packet.time_base)
                    packet.pts, packet.dts = packet.pts + moved, packet.dts + moved
                    packet.stream = streams[packet.stream.index]
                    target.mux(packet)
            shift += length
    return out


def _length_of_packets(source: Path) -> float:
    """From the first decoding to the last packet's end; sound is decoded a little earlier."""
    edges = []
    with av.open(str(source)) as container:
        for packet in container.demux():
            if packet.dts is not None and packet.pts is not None and packet.time_base is not None:
                end = max(packet.pts, packet.dts) + (packet.duration or 0)
                edges += [float(packet.dts * packet.time_base), float(end * packet.time_base)]
    return max(edges) - min(edges)


def seconds_of(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """The median over some calls, after one that warms up."""
    work()
    spent = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return statistics.median(spent)


def frames_of(file: Path) -> list[Any]:
    """The frames of a recording in which faces are looked for, (H, W, 3) uint8 each."""
    opened = open_recording(file)
    instants = sampling_instants(opened.start, opened.end)
    return [frame for _, frame in frames_at(file, instants, 0) if frame is not None]


def parts(pipeline: Pipeline, file: Path) -> dict[str, float]:
    """Seconds of decoding pictures, of faces, of sound with its spectrogram, and of the model."""
    opened = open_recording(file)
    instants = sampling_instants(opened.start, opened.end)
    images = torch.from_numpy(np.stack(frames_of(file)))
    pieces = list(pipeline.read(opened, cut(opened, Words("so happy"))))
    found = {
        "pictures_decoded": seconds_of(lambda: list(frames_at(file, instants, 0))),
        "faces": seconds_of(lambda: pipeline.detector.detect(images)),
        "sound_and_spectrogram": seconds_of(
            lambda: log_mel(read_waveform(file, opened.start, opened.end))
        ),
        "model": seconds_of(lambda: pipeline.predict(pieces)),
        "all": seconds_of(lambda: pipeline(file, "so happy")),
    }
    return found


def faces_per_second(frames: list[Any], repeats: int = REPEATS) -> dict[str, float]:
    """Frames a second of our detector and of facenet-pytorch's, in turns, after the same boxes.

    Args:
        frames: (H, W, 3) uint8 each.
        repeats: of each; medians count.

    Raises:
        ValueError: the detectors find other boxes.
    """
    pictures = np.stack(frames)
    images, ours, theirs = torch.from_numpy(pictures), FaceDetector(), facenet()
    for own, boxes in zip(ours.detect(images), theirs(pictures)[0], strict=True):
        wanted = np.empty((0, 4)) if boxes is None else np.array(boxes, np.float64)
        own_rows, rows = (sorted(map(tuple, found.tolist())) for found in (own.boxes, wanted))
        if len(rows) != len(own_rows) or not np.allclose(own_rows, rows, atol=0.01):
            raise ValueError(f"other boxes: {own_rows}, facenet-pytorch's are {rows}")
    spent: dict[str, list[float]] = {"ours": [], "facenet_pytorch": []}
    works = {"ours": lambda: ours.detect(images), "facenet_pytorch": lambda: theirs(pictures)}
    for _ in range(repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            spent[name].append(time.perf_counter() - start)
    return {name: len(frames) / statistics.median(times) for name, times in spent.items()}


def facenet() -> Callable[[Any], Any]:
    """facenet-pytorch's own detector, which takes frames (F, H, W, 3) as one batch."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        _stand_in()
    from facenet_pytorch import MTCNN

    found: Callable[[Any], Any] = MTCNN(keep_all=True, device="cpu").detect
    return found


def _stand_in() -> None:
    """Give facenet-pytorch the function of torchvision that its detector calls."""

    def batched_nms(boxes: Any, scores: Any, images: Any, threshold: float) -> Any:
        kept = suppress(*(v.numpy() for v in (boxes, scores)), images.long().numpy(), threshold)
        # As torchvision: by falling score over all images.
        return torch.from_numpy(kept[np.argsort(-scores.numpy()[kept], kind="stable")])

    names = ("", ".ops", ".ops.boxes", ".transforms", ".transforms.functional")
    made = {f"torchvision{name}": types.ModuleType(f"torchvision{name}") for name in names}
    vars(made["torchvision.ops.boxes"])["batched_nms"] = batched_nms
    vars(made["torchvision.transforms"])["functional"] = made["torchvision.transforms.functional"]
    sys.modules.update(made)


def of_the_papers_size(pipeline: Pipeline) -> Pipeline:
    """The same run with a MESM of the paper's widths, whose weights are drawn at random.

    It looks for faces of the default size, which are smaller than those of the demo model.
    """
    trained = pipeline.trained
    torch.manual_seed(0)
    model = MESM(emotions=len(trained.emotions), albert={"vocab_size": 30_000, **ALBERT})
    preprocessing = replace(trained.preprocessing, min_face_size=FaceDetector().min_face_size)
    return Pipeline(
        replace(trained, model=model.eval(), temperatures=None, preprocessing=preprocessing)
    )


ALBERT = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.predict_speed",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument(
        "run", nargs="?", default="demo", help="a trained MESM, as of mesm predict; default: demo"
    )
    parser.add_argument("--seconds", type=float, default=3600.0, help="of the long recording")
    parser.add_argument("--only", choices=("clip", "long"), help="keep what OUT has of the other")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    found = json.loads(options.out.read_text()) if options.only and options.out.is_file() else {}
    keep_freed_pages()  # as all commands of mesm do
    folder = Path(tempfile.mkdtemp())
    try:
        source = recording(folder)
        if options.only != "long":
            clip = repeated(source, folder / "clip.mp4", SECONDS)
            pipeline = of_the_papers_size(Pipeline.from_pretrained(options.run, "cpu"))
            found["clip"] = {
                "seconds": SECONDS,
                **parts(pipeline, clip),
                "frames_per_second": faces_per_second(frames_of(clip)),
                "environment": environment(),
            }
        if options.only != "clip":
            long = repeated(source, folder / "long.mp4", options.seconds)
            found["long"] = {
                "seconds": options.seconds,
                **predict_long(options.run, long),
                "environment": environment(),
            }
            found["long"]["times_real_time"] = options.seconds / found["long"]["wall_s"]
        write_json(options.out, found)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def predict_long(run: str, file: Path) -> dict[str, float]:
    """Predict a recording in a process of its own.

    Returns:
        pieces, wall_s and cpu_s of the prediction, peak_mib of the process.
    """
    done = subprocess.run(
        [sys.executable, "-c", HOUR, run, file],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        # As the command sets it.
        env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
