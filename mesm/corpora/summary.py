"""The counts of a prepared corpus, in words for a terminal."""

from __future__ import annotations

from mesm.config.modalities import Modality
from mesm.corpora.manifest import MANIFEST, Manifest


def summary(manifest: Manifest) -> str:
    """Lay out the counts per label and split, as the paper's Tables 1 and 2."""
    lines = [f"{'':12s}{'words':>8s}{'seconds':>9s}{'train':>7s}{'valid':>7s}{'test':>7s}"]
    for name, average in manifest.averages.items():
        sizes = [c.clips if name == "all" else c.labels[name] for c in manifest.counts.values()]
        lines.append(
            f"{name:12s}{average.words:8.2f}{average.seconds:9.2f}"
            + "".join(f"{size:7d}" for size in sizes)
        )
    faces = manifest.faces
    lines.append(f"faces found in {faces.found} of {faces.frames} frames")
    if faces.frames and not faces.found:
        rest = manifest.modalities.replace(Modality.VIDEO.letter, "")
        mend = f"train with model.modalities={rest}" if rest else "there is nothing to learn from"
        lines.append(
            "no face anywhere: every picture is the middle of its frame, of which nothing can be "
            "learnt; where there are small ones, prepare into another folder with a smaller "
            f"--min-face-size; where there are none, {mend}"
        )
    if manifest.skipped_by_reason:
        reasons = ", ".join(f"{n} {reason}" for reason, n in manifest.skipped_by_reason.items())
        lines.append(f"skipped: {reasons}")
    for name, clips in manifest.without.items():
        lines.append(f"without {name}: {len(clips)} clips, see {MANIFEST}")
    for name, clips in (("unlisted", manifest.unlisted), ("missing", manifest.missing)):
        if clips:
            lines.append(f"{name}: {len(clips)} clips, see {MANIFEST}")
    return "\n".join(lines)
