"""Raw media to tensors: faces, spectrograms, subwords and video frames."""
