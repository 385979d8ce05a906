"""Time and memory of the sparse block beside the dense one, and studies of what is learned."""
