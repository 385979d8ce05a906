"""Bad input is told in one line and status 2; other errors are bugs and keep their traceback."""

import pytest
import typer

from mesm.cli.shared import refusals_in_one_line


@pytest.mark.parametrize("error", [ValueError("wanted a, got b"), OSError("wanted a, got b")])
def test_bad_input_is_one_line(error, capsys):
    with pytest.raises(typer.Exit) as ended, refusals_in_one_line():
        raise error
    assert ended.value.exit_code == 2
    assert capsys.readouterr().err.strip() == "mesm: wanted a, got b"


def test_a_bug_is_not_hidden():
    with pytest.raises(KeyError), refusals_in_one_line():
        raise KeyError("x")
