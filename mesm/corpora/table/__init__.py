"""One's own corpus: a table of clips, a line each, and the media that it names."""
