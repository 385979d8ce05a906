"""docs/own_corpus.md: its commands run as they are written, up to a table of results."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/own_corpus.md").read_text()
# Commands of one page, one after the other, without starting Python for each.
SCRIPT = """
import json, shlex, sys, torch
from mesm.cli import app
torch.set_num_threads(1)
if __name__ == "__main__":
    for line in json.loads(sys.argv[1]):
        app(shlex.split(line)[1:], standalone_mode=False)
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_its_commands_run_as_they_are_written(tmp_path: Path) -> None:
    (commands,) = blocks("bash")
    lines = commands.splitlines()
    assert all(line.startswith("mesm ") for line in lines)
    script = tmp_path / "page.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script, json.dumps(lines)],
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "exactly one emotion a clip" in done.stdout
    manifest = json.loads((tmp_path / "prepared/own/manifest.json").read_text())
    assert manifest["emotions"] == ["happy", "sad", "surprised"]
    assert (manifest["synthetic"], manifest["named"]) == (True, "My films")
    assert manifest["faces"]["found"] > 0.9 * manifest["faces"]["frames"]
    assert manifest["without"] == {}
    # The line that the page shows is one of the table's.
    (shown,) = (text for text in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL))
    table = (tmp_path / "my/clips.csv").read_text().splitlines()
    assert {line.strip() for line in shown.splitlines() if line.strip()} <= set(table)
    assert sorted(path.name for path in (tmp_path / "my").iterdir()) == [
        *("clips.csv", "films", "ground_truth.jsonl")
    ]
    truths = (tmp_path / "my/ground_truth.jsonl").read_text().splitlines()
    clips = {json.loads(line)["clip_id"] for line in truths}
    assert len(clips) == len(table) - 1 == sum(c["clips"] for c in manifest["counts"].values())
    (results,) = (tmp_path / "tables").glob("results_*.md")
    assert results.read_text().startswith("**Results on a miniature My films**")
    with (tmp_path / "new.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    assert all(row["decided"] in manifest["emotions"] for row in rows)
    assert all(int(row["faces"]) > 0 and row["missing"] == "text" for row in rows)


def test_its_table_of_a_folder_is_one(tmp_path: Path, monkeypatch) -> None:
    (example,) = blocks("python")
    for place, name in enumerate(("glad", "glad", "sad", "sad")):
        folder = tmp_path / "my" / name
        folder.mkdir(parents=True, exist_ok=True)
        with av.open(str(folder / f"{place}.mp4"), "w") as film:
            stream = film.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for _ in range(10):
                picture = np.zeros((48, 64, 3), np.uint8)
                film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            film.mux(stream.encode())
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "own_corpus.md", "exec"), {})
    from mesm.corpora.table.reader import read_table

    found = read_table(Path("my/clips.csv"))
    assert [(u.clip_id, u.labels) for u in found.utterances] == [
        *(("0", (1, 0)), ("1", (1, 0)), ("2", (0, 1)), ("3", (0, 1)))
    ]
