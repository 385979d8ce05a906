"""The report of tiny runs is one file that needs nothing else and says what it shows."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mesm.analysis.explain import explain
from mesm.analysis.sweep import sweep
from mesm.report.page import write_report

VOID = {"meta", "img", "br"}


class Outline(HTMLParser):
    """Collects what is needed to judge the page; fails on tags that do not close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.rows: list[list[str]] = []
        self.in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        self.in_cell = tag in ("td", "th")
        if self.in_cell:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.in_cell = False

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def runs(
    tiny_mesm: Path, tiny_fe2e: Path, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    folder = tmp_path_factory.mktemp("reported")
    for run in (tiny_fe2e, tiny_mesm):
        shutil.copytree(run, folder / run.name)
    mesm, fe2e = folder / "mesm", folder / "fe2e"
    shutil.rmtree(mesm / "explain", ignore_errors=True)
    sweep(mesm, [0.5, 1.0], baseline=fe2e, repeats=1)
    explain(mesm, ground_truth=tiny_corpus / "ground_truth.jsonl")
    return [fe2e, mesm]


def read(page: Path) -> tuple[str, Outline]:
    text = page.read_text(encoding="utf-8")
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    return text, outline


def test_page_is_self_contained_and_complete(runs: list[Path], tmp_path: Path) -> None:
    page = write_report(tmp_path / "deep" / "report.html", runs)
    text, outline = read(page)
    assert all(link.startswith("data:image/png;base64,") for link in outline.links)
    # The curves, the two grids, faces and sound of six clips, the learning curves, the calibration.
    assert len(outline.links) == 1 + 2 + 1 + 2 * 6 + 2
    assert not re.search(r"https?://", text)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    assert not list(page.parent.glob(".*"))


def test_tables_hold_the_runs_figures(runs: list[Path], tmp_path: Path) -> None:
    _, outline = read(write_report(tmp_path / "report.html", runs))
    named = {row[0]: row for row in outline.rows if row}
    for run, name in zip(runs, ("FE2E", "MESM (p = 0.5)"), strict=True):
        scores = json.loads((run / "evaluation.json").read_text())["test"]
        values = [*scores["emotions"].values(), scores["average"]]
        cells = [f"{100 * v[key]:.1f}" for v in values for key in ("accuracy", "f1")]
        rows = [row for row in outline.rows if row and row[0] == name]
        assert any(row[2:] == cells for row in rows)
    assert named["all clips"][-3:] == ["12", "6", "7"]
    assert "p = 1" in named


def test_synthetic_corpus_is_said_and_the_paper_left_out(runs: list[Path], tmp_path: Path) -> None:
    text, _ = read(write_report(tmp_path / "report.html", runs))
    assert "A synthetic corpus." in text
    assert "(the paper)" not in text
    text, _ = read(write_report(tmp_path / "report.html", runs, note="Made-up labels."))
    assert "Made-up labels." in text
    assert "A synthetic corpus." not in text


def test_real_corpus_stands_beside_the_paper(runs: list[Path], tmp_path: Path) -> None:
    text, outline = read(write_report(tmp_path / "report.html", runs, synthetic=False))
    assert "A synthetic corpus." not in text
    rows = [row for row in outline.rows if row and row[0].endswith(", the paper")]
    assert len(rows) == 6
    assert [row[-2:] for row in rows[-2:]] == [["84.5", "58.8"], ["84.4", "57.4"]]


def test_runs_that_are_called_alike_are_told_apart(runs: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "another"
    shutil.copytree(runs[0], other)
    text, outline = read(write_report(tmp_path / "report.html", [*runs, other]))
    (row,) = (row for row in outline.rows if row and row[0].endswith(" [another]"))
    name = row[0].removesuffix(" [another]")
    assert any(row and row[0] == f"{name} [{runs[0].name}]" for row in outline.rows)
    assert f"average F1 of {name} [another]" in text


def test_what_comes_from_files_is_escaped(runs: list[Path], tmp_path: Path) -> None:
    text, _ = read(write_report(tmp_path / "report.html", runs, title="<script>"))
    assert "<script>" not in text
    assert "&lt;missing&gt;" in text


def test_run_without_sweep_or_pictures(tiny_fe2e: Path, tmp_path: Path) -> None:
    text, outline = read(write_report(tmp_path / "report.html", [tiny_fe2e]))
    assert len(outline.links) == 2
    assert "How much attention mass" not in text


def test_the_calibration_is_that_of_the_scores(tiny_fe2e: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_fe2e, tmp_path / "run")
    kept = json.loads((run / "evaluation.json").read_text())
    average = kept["test"]["calibration"]["average"]
    text, _ = read(write_report(tmp_path / "report.html", [run]))
    assert f"error {100 * average['ece']:.1f} % on average" in text
    assert f"{100 * average['ece_calibrated']:.1f} % with a temperature per emotion" in text
    damaged = json.loads(json.dumps(kept))
    del damaged["test"]["calibration"]["bins"]
    (run / "evaluation.json").write_text(json.dumps(damaged))
    with pytest.raises(ValueError, match=r"evaluation\.json.*calibration"):
        write_report(tmp_path / "report.html", [run])
    # Earlier scores have none.
    del kept["test"]["calibration"]
    (run / "evaluation.json").write_text(json.dumps(kept))
    text, outline = read(write_report(tmp_path / "report.html", [run]))
    assert "How far to believe" not in text
    assert len(outline.links) == 1


def test_a_link_stays_and_its_file_is_written(tiny_fe2e: Path, tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    link = tmp_path / "latest.html"
    link.symlink_to("pages/today.html")
    assert write_report(link, [tiny_fe2e]) == link
    assert link.is_symlink()
    assert (
        (tmp_path / "pages/today.html").read_text().lstrip().lower().startswith("<!doctype html>")
    )


def test_refusals_write_nothing(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    bare = tmp_path / "bare"
    shutil.copytree(runs[0], bare)
    (bare / "evaluation.json").unlink()
    for wrong, message in (
        ([], "at least one run"),
        ([tmp_path], "no run"),
        ([bare], "mesm evaluate"),
    ):
        with pytest.raises(ValueError, match=message):
            write_report(out, wrong)
    out.mkdir()
    with pytest.raises(ValueError, match=r"report\.html is a folder; name a file"):
        write_report(out, runs)
    assert sorted(tmp_path.iterdir()) == [bare, out]
    assert list(out.iterdir()) == []


def test_flops_are_those_of_the_run_and_of_no_other_of_its_name(
    runs: list[Path], tiny_mesm: Path, tiny_fe2e: Path, tmp_path: Path
) -> None:
    """Two MESMs of one name keep different sites, two FE2Es may differ in size: then a dash."""
    others = [tmp_path / "same_fe2e", tmp_path / "wider_fe2e", tmp_path / "another_mesm"]
    for run, other in zip((tiny_fe2e, tiny_fe2e, tiny_mesm), others, strict=True):
        shutil.copytree(run, other, ignore=shutil.ignore_patterns("sweep.*", "explain"))
    config = others[1] / "config.yaml"
    config.write_text(config.read_text().replace("  hidden: 16\n", "  hidden: 32\n", 1))
    _, outline = read(write_report(tmp_path / "report.html", [*runs, *others]))
    swept = json.loads((runs[1] / "sweep.json").read_text())
    totals = [
        swept["baseline"]["flops_per_clip"]["total"],
        swept["points"][0]["flops_per_clip"]["total"],
    ]
    rows = [row for row in outline.rows if len(row) == 2 + 2 * 7][-5:]
    assert [row[:2] for row in rows] == [
        [f"FE2E [{runs[0].name}]", f"{totals[0] / 1e9:.2f}"],
        [f"MESM (p = 0.5) [{runs[1].name}]", f"{totals[1] / 1e9:.2f}"],
        ["FE2E [same_fe2e]", f"{totals[0] / 1e9:.2f}"],
        ["FE2E [wider_fe2e]", "–"],
        ["MESM (p = 0.5) [another_mesm]", "–"],
    ]


def test_one_emotion_a_clip_shows_its_confusion_and_stands_alone(
    single_mesm: Path, single_fe2e: Path, tiny_fe2e: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(single_mesm, tmp_path / "mesm")
    swept = sweep(run, [0.5, 1.0], baseline=single_fe2e, repeats=1)
    page = write_report(tmp_path / "report.html", [run, single_fe2e]).read_text(encoding="utf-8")
    for text in (
        "macro F1 of MESM",
        "Training loss and validation macro F1 per epoch.",
        "Which emotion is taken for which",
        "Every clip carries exactly one emotion.",
        "in 15 bins of the most probable emotion",
        "UAR: unweighted average recall",
    ):
        assert text in page
    outline = Outline()
    outline.feed(page)
    value = f"{100 * swept['points'][0]['average']['uar']:.1f}"
    assert [row for row in outline.rows if row[0] == "p = 0.5" and row[2] == value]
    assert page.count("a row per emotion that they have") == 4  # caption and alt text of two
    with pytest.raises(ValueError, match=r"one emotion a clip .*fe2e several .* page of each"):
        write_report(tmp_path / "mixed.html", [run, tiny_fe2e])
    assert not (tmp_path / "mixed.html").exists()
