"""The miniature corpus: drawn faces, speech-like sound and sentences in IEMOCAP's or CMU-MOSEI's
on-disk layout, with the ground truth of what carries the emotion beside them.
"""
