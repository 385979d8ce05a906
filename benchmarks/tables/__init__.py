"""Measured figures in the documents, written from their JSON and never typed.

    python -m benchmarks.tables            # or: make tables; rewrites README.md and docs/*.md
    python -m benchmarks.tables --check    # changes nothing; fails where a region is out of date

A document marks a region, on lines of their own for a table, or inside a line for a few words;
whatever stands between the two marks is replaced:

    <!-- figures: cpu-headline -->
    <!-- end -->

    The step took <!-- figures: cpu-models-peak -->…<!-- end --> of memory.

To add a table, put a function into the module of its subject (`cpu.py`, `gpu.py`, `learning.py`,
`experiment.py`; a new module is also named in `registry.load`). The function takes nothing, reads
a file of benchmarks/results/ and returns the region's Markdown: several lines for a table, one for
a few words.

    @table("gpu-ceilings")
    def ceilings() -> str:
        machine = results("h100-2026-11-26-before")["machine"]
        rows = [(name, f"{machine['ceilings'][name]:.0f}") for name in sorted(machine["ceilings"])]
        return markdown(("ceiling", "measured"), rows)

Then mark a region `<!-- figures: gpu-ceilings -->`, run `make tables`, and commit the document with
its JSON. `tests/benchmarks/tables/test_documents.py` fails when a region is out of date, when its
name is unknown, and when a table stands in no document.
"""
