"""The miniature corpus: drawn faces, speech-like sound and sentences in a real corpus' on-disk
layout, with the ground truth of what carries the emotion beside them.
"""
