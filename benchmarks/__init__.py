"""What the sparse block costs beside the dense one, and what its attention learns."""
