"""The words of `mesm serve`, before anything is loaded; `tests/mesm/web` has the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mesm.cli import app
from mesm.web import server
from mesm.web.limits import Limits


def test_options_become_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(server, "serve", lambda request, show: told.append(request))
    words = ["run", "--dense", "fe2e", "--examples", "clips", "--port", "0", "--host", "0.0.0.0"]
    words += ["--most-megabytes", "5", "--most-minutes", "0.5", "--browse", "--device", "cpu"]
    assert CliRunner().invoke(app, ["serve", *words]).exit_code == 0
    assert CliRunner().invoke(app, ["serve", "demo"]).exit_code == 0
    places = (Path("fe2e"), Path("clips"))
    assert told[0] == server.Request(
        *("run", *places, "0.0.0.0", 0), limits=Limits(5, 0.5), device="cpu", browse=True
    )
    assert told[1] == server.Request("demo")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--port", "70000", "wanted a port from 1 to 65535"),
        ("--port", "-1", "wanted a port from 1 to 65535"),
        ("--most-minutes", "0", "wanted minutes above 0"),
        ("--most-minutes", "nan", "wanted minutes above 0"),
        ("--most-minutes", "inf", "wanted minutes above 0"),
        ("--most-megabytes", "0", "wanted at least 1"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(option: str, value: str, said: str) -> None:
    done = CliRunner().invoke(app, ["serve", "run", option, value])
    assert done.exit_code == 2
    assert said in done.output
