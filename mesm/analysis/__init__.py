"""Measuring a trained MESM: FLOPs, latency, quality per p, and the sites its attention keeps."""
