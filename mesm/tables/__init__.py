"""The paper's tables from runs and prepared corpora, as Markdown, LaTeX and JSON."""
