import pytest

from mesm.corpora.iemocap import read_iemocap

EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
[10.0100 - 11.3925]\tSes01F_impro01_M000\tang\t[2.5000, 2.5000, 2.5000]
[14.8872 - 18.0175]\tSes01F_impro01_M001\txxx\t[2.5000, 3.0000, 3.0000]
[19.2900 - 20.7875]\tSes01F_impro01_F001\texc\t[2.5000, 3.0000, 3.0000]
"""
TRANSCRIPT = """Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.
M: (coughs)
Ses01F_impro01_M000 [010.0100-011.3925]:  What?
Ses01F_impro01_M001 [014.8872-018.0175]: Whatever.
Ses01F_impro01_F001 [019.2900-020.7875]: Is there a problem: yes?
"""


def build(root, evaluation=EVALUATION, transcript=TRANSCRIPT, dialog="Ses01F_impro01", session=1):
    base = root / "IEMOCAP_full_release" / f"Session{session}" / "dialog"
    for folder, text in (("EmoEvaluation", evaluation), ("transcriptions", transcript)):
        (base / folder).mkdir(parents=True, exist_ok=True)
        if text is not None:
            data = text if isinstance(text, bytes) else text.encode()
            (base / folder / f"{dialog}.txt").write_bytes(data)
    return root


def test_utterances_halves_and_channels(tmp_path):
    corpus = read_iemocap(build(tmp_path))
    first, second, third = corpus.utterances
    assert first.clip_id == "Ses01F_impro01_F000"
    assert (first.start, first.end) == (6.2901, 8.2357)
    assert first.text == "Excuse me."
    assert first.labels == (0, 0, 0, 0, 1, 0)
    assert (first.half, first.channel, first.speaker) == ("left", 0, "Ses01F")
    assert (second.half, second.channel, second.speaker) == ("right", 1, "Ses01M")
    assert second.labels == (1, 0, 0, 0, 0, 0)
    assert third.text == "Is there a problem: yes?"
    dialog = tmp_path / "IEMOCAP_full_release" / "Session1" / "dialog"
    assert first.video == dialog / "avi" / "DivX" / "Ses01F_impro01.avi"
    assert first.audio == dialog / "wav" / "Ses01F_impro01.wav"
    assert corpus.other_labels == {"xxx": 1}
    assert not corpus.skipped


def test_the_release_and_its_parent_are_the_same(tmp_path):
    build(tmp_path)
    inside = read_iemocap(tmp_path / "IEMOCAP_full_release")
    assert inside.utterances == read_iemocap(tmp_path).utterances
    assert read_iemocap(tmp_path).home == tmp_path


def test_the_other_gender_stands_on_the_left_in_the_other_dialogs(tmp_path):
    swap = {
        "evaluation": EVALUATION.replace("Ses01F_", "Ses01M_"),
        "transcript": TRANSCRIPT.replace("Ses01F_", "Ses01M_"),
    }
    corpus = read_iemocap(build(tmp_path, dialog="Ses01M_impro01", **swap))
    by_id = {u.clip_id: u for u in corpus.utterances}
    assert by_id["Ses01M_impro01_F000"].half == "right"
    assert by_id["Ses01M_impro01_M000"].half == "left"
    # The same two people, whoever wears the markers.
    assert by_id["Ses01M_impro01_F000"].speaker == "Ses01F"


def test_what_cannot_be_read_is_named_with_its_line(tmp_path):
    evaluation = EVALUATION + (
        "[21.0 - x]\tSes01F_impro01_F002\tneu\t[]\n"
        "[22.0 - 23.0]\tSes01F_impro01_F003\tbored\t[]\n"
        "[24.0 - 24.0]\tSes01F_impro01_F004\tsad\t[]\n"
        "[25.0 - 26.0]\tSes01F_impro01_F005\tsad\t[]\n"
        "[27.0 - 28.0]\tSes01F_impro01_F006\tsad\t[]\n"
        "[29.0 - 30.0]\tSes01F_impro01_X007\tsad\t[]\n"
        "[31.0 - 32.0]\tSes01F_impro01_F006\tang\t[]\n"
    )
    transcript = TRANSCRIPT + (
        "Ses01F_impro01_F004 [024.0-024.0]: Nothing.\n"
        "Ses01F_impro01_F005 [025.0-026.0]: \n"
        "Ses01F_impro01_F008 [033.0-034.0]: Never rated.\n"
        "Ses01F_impro01_F009 no times\n"
    )
    corpus = read_iemocap(build(tmp_path, evaluation, transcript))
    assert len(corpus.utterances) == 3
    found = [(s.clip_id[-4:], s.reason, s.file.rpartition("/")[2]) for s in corpus.skipped]
    assert sorted(found) == [
        ("", "unreadable label", "Ses01F_impro01.txt:8"),
        ("", "unreadable transcript", "Ses01F_impro01.txt:9"),
        ("F003", "unknown label", "Ses01F_impro01.txt:9"),
        ("F004", "zero length", "Ses01F_impro01.txt:10"),
        ("F005", "empty transcript", "Ses01F_impro01.txt:7"),
        ("F006", "labelled twice, first label kept", "Ses01F_impro01.txt:14"),
        ("F006", "no transcript", "Ses01F_impro01.txt"),
        ("F008", "no label", "Ses01F_impro01.txt:8"),
        ("X007", "not an utterance of its dialog", "Ses01F_impro01.txt:13"),
    ]


@pytest.mark.parametrize("lacking", ["evaluation", "transcript"])
def test_a_dialog_without_one_of_its_files_costs_its_clips_only(tmp_path, lacking):
    build(tmp_path, **{lacking: None})
    swap = [text.replace("Ses01F", "Ses02F") for text in (EVALUATION, TRANSCRIPT)]
    build(tmp_path, *swap, dialog="Ses02F_impro01", session=2)
    corpus = read_iemocap(tmp_path)
    assert {u.dialog for u in corpus.utterances} == {"Ses02F_impro01"}
    reason = "no label" if lacking == "evaluation" else "no transcript"
    assert {s.reason for s in corpus.skipped} == {reason}
    assert {s.clip_id[:14] for s in corpus.skipped} == {"Ses01F_impro01"}


def test_line_ends_encodings_and_mac_files(tmp_path):
    transcript = TRANSCRIPT.replace("\n", "\r\n").replace("Excuse", "Excusé").encode("latin-1")
    root = build(tmp_path, EVALUATION.replace("\n", "\r\n"), transcript)
    folder = root / "IEMOCAP_full_release" / "Session1" / "dialog" / "EmoEvaluation"
    (folder / "._Ses01F_impro01.txt").write_bytes(b"\x00\x05\x16\x07")
    (folder / "notes.txt").write_text("mine")
    corpus = read_iemocap(root)
    assert corpus.utterances[0].text == "Excusé me."
    assert len(corpus.utterances) == 3
    assert corpus.notes == [
        "not in IEMOCAP_full_release: Session2, Session3, Session4, Session5",
        "passed over notes.txt in Session1: not a dialog",
    ]


def test_another_folder_is_refused_with_what_was_wanted(tmp_path):
    (tmp_path / "Session1").mkdir()
    with pytest.raises(ValueError, match=r"is not IEMOCAP: wanted IEMOCAP_full_release or its"):
        read_iemocap(tmp_path)
