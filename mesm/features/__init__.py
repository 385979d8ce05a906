"""Hand-crafted features of the two-phase baselines: GloVe, Bark bands and MFCCs, OpenFace."""
