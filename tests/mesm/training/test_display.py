import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mesm.runs.folder import RunFolder
from mesm.training.display import CURVES, Display

RECORD = {
    **dict.fromkeys(CURVES, 0.5),
    "train_loss": None,
    "gradient_norm": 2.0,
}


def test_shows_and_draws_an_epoch(tmp_path, capsys):
    with Display(RunFolder(tmp_path), "mesm", first=3, total=9, main=True) as display:
        display.step()
        display.means(0.25, 7.0)
        display.epoch(RECORD, 4)
    shown = capsys.readouterr().err
    assert "train mesm" in shown
    assert "4/9" in shown
    assert "clips_per_s=0.5, loss=not finite, valid_f1=50.0" in shown
    assert shown.endswith("\n")
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    # A loss that is not finite is not drawn.
    assert set(events.Tags()["scalars"]) == set(CURVES) - {"train_loss"}
    assert [(event.step, event.value) for event in events.Scalars("gradient_norm")] == [(4, 2.0)]


def test_one_emotion_a_clip_has_a_macro_f1(tmp_path, capsys):
    with Display(RunFolder(tmp_path), "mesm", first=3, total=9, main=True) as display:
        display.epoch(RECORD | {"f1_variant": "macro"}, 4)
    assert "valid_macro_f1=50.0" in capsys.readouterr().err
    tags = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Tags()["scalars"]
    assert "valid_macro_f1" in tags
    assert "valid_f1" not in tags


def test_an_error_stands_below_the_bar(tmp_path, capsys):
    with (
        pytest.raises(KeyboardInterrupt),
        Display(RunFolder(tmp_path), "mesm", first=0, total=9, main=True),
    ):
        raise KeyboardInterrupt
    assert capsys.readouterr().err.endswith("\n")


def test_another_process_shows_nothing(tmp_path, capsys):
    with Display(RunFolder(tmp_path), "mesm", first=0, total=9, main=False) as display:
        display.step()
        display.epoch(RECORD, 4)
    assert capsys.readouterr().err == ""
    assert not list(tmp_path.iterdir())
