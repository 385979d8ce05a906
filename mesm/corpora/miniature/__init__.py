"""The miniature corpus: drawn faces, speech-like sound and sentences in IEMOCAP's or CMU-MOSEI's
on-disk layout, with the ground truth of what carries the emotion beside them.
"""

from mesm.corpora.miniature.generate import generate

__all__ = ["generate"]
