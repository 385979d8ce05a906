import pytest
from typer.testing import CliRunner

from mesm.cli import app


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_help_names_every_command():
    shown = run("--help").output
    for command in ("miniature", "prepare", "train", "evaluate", "sweep", "explain", "report"):
        assert command in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("prepare", "iemocap", "{tmp}", "{tmp}/out"), "IEMOCAP_full_release"),
        (("prepare", "mosei", "{tmp}/nowhere", "{tmp}/out"), "nowhere"),
        (("train", "miniature_mesm", "corpus={tmp}/none", "--run", "{tmp}/out"), "none"),
        (("train", "miniature_mesm", "model.q=1", "--run", "{tmp}/out"), "model.q"),
        (("train", "miniature_mesm", "model.p=1.5", "--run", "{tmp}/out"), "model.p"),
        (("evaluate", "{tmp}/out"), "out"),
        (("sweep", "{tmp}/out", "--p", "0:1:0.1"), "p"),
        (("sweep", "{tmp}/out", "--p", ""), "p must be first:last:step"),
        (("sweep", "{tmp}/out", "--budget", "half"), "budget must be shares"),
        (("sweep", "{tmp}/out", "--budget", "0.5", "--p", "0.5"), "leave --p out"),
        (("explain", "{tmp}/out"), "out"),
        (("report", "{tmp}/out", "{tmp}/none"), "none"),
        (("miniature", "{tmp}/out", "--clips", 0), "clips"),
    ],
)
def test_refuses_in_one_line_and_writes_nothing(tmp_path, arguments, message):
    filled = [str(argument).replace("{tmp}", str(tmp_path)) for argument in arguments]
    result = run(*filled)
    assert result.exit_code == 2
    lines = result.output.strip().splitlines()
    assert lines[-1].startswith("mesm: ")
    assert message in result.output
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []
