"""The costs of predicting recordings: a clip of ten seconds, and an hour."""

from __future__ import annotations

from benchmarks.report import markdown
from benchmarks.tables.registry import results, table

SPEED = "predict-speed"


@table("predict-speed")
def speed() -> str:
    """The measured costs, beside those that are wanted of 2 idle cores."""
    content = results(SPEED)
    clip, long = content["clip"], content["long"]
    frames = clip["frames_per_second"]
    shares = (
        ("pictures_decoded", "pictures decoded"),
        ("faces", "faces"),
        ("sound_and_spectrogram", "sound and spectrogram"),
        ("model", "model"),
    )
    apart = ", ".join(f"{words} {clip[name]:.2f}" for name, words in shares)
    lines = [
        (f"clip of {clip['seconds']:g} s, MESM of the paper's size", f"{clip['all']:.2f} s", "1 s"),
        ("its parts apart, seconds", apart, ""),
        (
            "frames a second that are looked at for faces of 20 pixels",
            f"{frames['ours']:.0f}; facenet-pytorch {frames['facenet_pytorch']:.0f}",
            "100",
        ),
        (
            f"{long['seconds'] / 3600:g} h, the demo model",
            f"{long['wall_s']:.0f} s, {long['times_real_time']:.0f} times real time; "
            f"{long['cpu_s']:.0f} s of one core",
            "30 times",
        ),
        ("its memory", f"{long['peak_mib'] / 1024:.2f} GiB", "1.5 GiB"),
    ]
    return markdown(("640x360, 30 frames a second", "measured", "wanted"), lines)
