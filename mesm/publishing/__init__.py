"""A trained model as a folder that stands for itself: written, sent to the hub, read again."""
