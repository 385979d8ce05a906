"""Corpora: IEMOCAP, CMU-MOSEI, the miniature corpus, and their preparation."""
