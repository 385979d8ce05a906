"""How fast recordings are predicted: a clip of ten seconds, and an hour; each part apart.

The recordings have 640x360 pixels at 30 a second, with a drawn face, and sound at 48 kHz; the hour
is a minute sixty times over. The clip is predicted by a MESM of the paper's sizes, the hour by the
run that is named. Faces are compared with facenet-pytorch's MTCNN where that is installed.

    python -m benchmarks.studies.predict_speed RUN     # some minutes on 2 idle cores
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
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
from mesm.inputs.face_detector import FaceDetector
from mesm.inputs.faces import sampling_instants
from mesm.inputs.spectrograms import log_mel
from mesm.inputs.video import frames_at
from mesm.inputs.waveforms import read_waveform
from mesm.models import MESM

RESULTS = ROOT / "benchmarks/results/predict-speed.json"
FILMED = replace(VIDEOS["mosei"], width=640, height=360, rate=Fraction(30))
SECONDS, REPEATS = 10.0, 5
# A process of its own, whose memory is that of the hour alone.
HOUR = """
import json, resource, sys, time
from mesm import Pipeline
pipeline = Pipeline.from_pretrained(sys.argv[1], "cpu")
start = time.perf_counter()
pieces = sum(1 for _ in pipeline.stream(sys.argv[2]))
spent = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"pieces": pieces, "seconds": spent, "peak_mib": peak / 1024}))
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


def parts(pipeline: Pipeline, file: Path) -> dict[str, float]:
    """Seconds of decoding pictures, of faces, of sound with its spectrogram, and of the model."""
    opened = open_recording(file)
    instants = sampling_instants(opened.start, opened.end)
    frames = [frame for _, frame in frames_at(file, instants, 0) if frame is not None]
    images = torch.from_numpy(np.stack(frames))
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
    detector = FaceDetector()
    found["faces_per_second"] = len(images) / seconds_of(lambda: detector.detect(images))
    rival = _facenet()
    if rival is not None:
        found["facenet_faces_per_second"] = len(images) / seconds_of(lambda: rival(frames))
    return found


def _facenet() -> Callable[[list[Any]], object] | None:
    """facenet-pytorch's own detector, frame by frame in one batch; None: it cannot be imported."""
    try:
        from facenet_pytorch import MTCNN
    except ImportError:
        return None
    found: Callable[[list[Any]], object] = MTCNN(keep_all=True, device="cpu").detect
    return found


def of_the_papers_size(pipeline: Pipeline) -> Pipeline:
    """The same run with a MESM of the paper's widths, whose weights are drawn at random."""
    trained = pipeline.trained
    torch.manual_seed(0)
    model = MESM(emotions=len(trained.emotions), albert={"vocab_size": 30_000, **ALBERT})
    return Pipeline(replace(trained, model=model.eval(), temperatures=None))


ALBERT = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.predict_speed",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="a trained MESM run, such as demo/runs/mesm")
    parser.add_argument("--seconds", type=float, default=3600.0, help="of the long recording")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        source = recording(folder)
        clip = repeated(source, folder / "clip.mp4", SECONDS)
        long = repeated(source, folder / "long.mp4", options.seconds)
        pipeline = Pipeline.from_pretrained(options.run, "cpu")
        done = subprocess.run(
            [sys.executable, "-c", HOUR, options.run, long],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        hour = json.loads(done.stdout.splitlines()[-1])
        hour["times_real_time"] = options.seconds / hour["seconds"]
        write_json(
            options.out,
            {
                "environment": environment(),
                "clip": {"seconds": SECONDS, "paper": parts(of_the_papers_size(pipeline), clip)},
                "long": {"seconds": options.seconds, **hour},
                "peak_mib_of_this_process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                / 1024,
            },
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
