"""The README: its example runs, its commands exist, it is short and repeats nothing of docs/."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from typer.main import get_command

from mesm.cli.commands import app
from mesm.config.files import shipped

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MOST_LINES = 110
LONG = 40  # letters from which an equal line is no chance


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_example_runs_and_is_short() -> None:
    (example,) = blocks("python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    names: dict[str, object] = {"__name__": "readme"}
    exec(compile(example, "README.md", "exec"), names)
    net = names["Net"]
    assert isinstance(net, type)
    out = net()(torch.randn(4, 3, 48, 48), torch.randn(2, 300), torch.tensor([3, 1]))
    assert out.shape == (4, 128, 12, 12)


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= MOST_LINES


def test_its_targets_of_make_exist() -> None:
    wanted = set(re.findall(r"^make ([a-z-]+)", "\n".join(blocks("bash")), re.MULTILINE))
    there = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"setup", "demo", "test"} <= wanted <= there


def test_its_commands_and_options_exist() -> None:
    context = get_command(app)
    lines = re.findall(r"^\.venv/bin/mesm (.*)", "\n".join(blocks("bash")), re.MULTILINE)
    assert len(lines) >= 10
    for line in lines:
        words = line.partition("#")[0].split()
        command = context.commands[words[0]]  # type: ignore[attr-defined]
        if hasattr(command, "commands"):
            command = command.commands[words[1]]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line
        if words[0] == "train":
            assert words[1] in shipped()


def test_it_repeats_no_line_of_docs() -> None:
    def lines(text: str) -> set[str]:
        text = re.sub(r"<!-- figures: .*?<!-- end -->", "", text, flags=re.DOTALL)
        return {line.strip() for line in text.splitlines() if len(line.strip()) >= LONG}

    for page in (ROOT / "docs").rglob("*.md"):
        assert not lines(README) & lines(page.read_text()), page.name


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)[^):]*\)", README):
        assert (ROOT / target).exists(), target
