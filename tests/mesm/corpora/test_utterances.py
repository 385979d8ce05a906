"""Helpers of the readers of raw corpora: left-out clips are named, orders fixed, text decoded."""

import ast
from pathlib import Path

import pytest
from pydantic import ValidationError

from mesm.corpora import (
    crema_d,
    extraction,
    iemocap,
    meld,
    mosei,
    mosei_sdk,
    parts,
    ravdess,
    shortfalls,
    utterances,
    whole_files,
)
from mesm.corpora.utterances import (
    MENDS,
    RawCorpus,
    SkippedClip,
    Utterance,
    read_lines,
    read_text,
)

ROOT = Path("corpus")


def utterance(clip_id: str, dialog: str = "d", start: float = 0.0) -> Utterance:
    return Utterance(
        clip_id=clip_id,
        dialog=dialog,
        speaker="s",
        start=start,
        end=start + 1,
        text="words",
        labels=(1, 0),
        video=ROOT / "d.avi",
        audio=ROOT / "d.wav",
    )


def test_a_whole_frame_and_all_channels_unless_said() -> None:
    assert (utterance("a").half, utterance("a").channel) == (None, None)


@pytest.mark.parametrize(
    ("clip", "line"),
    [
        (
            SkippedClip(clip_id="a", reason="no sound", file="x/a.wav"),
            "skipped a: no sound: x/a.wav",
        ),
        (
            SkippedClip(clip_id="a", reason="no label", file="a.txt:3", detail="was: b"),
            "skipped a: no label: a.txt:3 (was: b); label the clip, or delete its line",
        ),
        (
            SkippedClip(clip_id="", reason="unreadable label", file="a.txt:9"),
            "skipped a clip: unreadable label: a.txt:9; write the line as the others are",
        ),
    ],
)
def test_a_skipped_clip_says_what_why_and_where(clip: SkippedClip, line: str) -> None:
    assert clip.line() == line


# The functions that are given a reason, and at which place.
CALLS = {"corpus.skip": 1, "self.skip": 1, "fail": 1, "dialog.refused": 0, "Shortfall": 0}


def test_every_reason_of_the_readers_has_a_mend() -> None:
    reasons = set()
    readers = (iemocap, mosei, mosei_sdk, meld, ravdess, crema_d)
    for module in (*readers, extraction, shortfalls, utterances, whole_files, parts):
        for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
            if isinstance(node, ast.Call) and (call := ast.unparse(node.func)) in CALLS:
                given = node.args[CALLS[call]]
                # A Shortfall brings its reason along.
                if not isinstance(given, ast.Starred):
                    reasons.add(ast.literal_eval(given))
    assert reasons == MENDS.keys()


def test_a_skipped_clip_is_kept_in_json_and_cannot_be_changed() -> None:
    clip = SkippedClip(clip_id="é", reason="no sound", file="a.wav", detail="d")
    assert SkippedClip.model_validate_json(clip.model_dump_json()) == clip
    with pytest.raises(ValidationError, match="frozen"):
        clip.reason = "another"
    with pytest.raises(ValidationError, match="Extra inputs"):
        SkippedClip(clip_id="a", reason="r", file="f", line=3)  # type: ignore[call-arg]


def test_skip_names_the_file_from_the_corpus_on_and_its_line() -> None:
    corpus = RawCorpus("iemocap", ROOT)
    corpus.skip("a", "no label", ROOT / "labels" / "a.txt", 3)
    corpus.skip("b", "unknown label", ROOT / "b.txt", detail="bored")
    corpus.skip("c", "no label", ROOT / "c.txt", 0)
    assert [clip.line() for clip in corpus.skipped] == [
        "skipped a: no label: labels/a.txt:3; label the clip, or delete its line",
        "skipped b: unknown label: b.txt (bored); give one of the corpus' own labels",
        "skipped c: no label: c.txt:0; label the clip, or delete its line",
    ]


def test_a_file_of_another_place_is_named_whole() -> None:
    corpus = RawCorpus("iemocap", ROOT)
    assert corpus.relative(ROOT / "a" / "b.txt") == "a/b.txt"
    assert corpus.relative(Path("elsewhere") / "a.txt") == "elsewhere/a.txt"


def test_corpora_share_nothing() -> None:
    one, other = RawCorpus("iemocap", ROOT), RawCorpus("mosei", ROOT)
    one.skip("a", "r", ROOT / "f")
    one.notes.append("n")
    one.other_labels["xxx"] += 1
    one.utterances.append(utterance("a"))
    assert (other.skipped, other.notes, other.other_labels, other.utterances) == ([], [], {}, [])


def test_order_is_by_dialog_then_start_then_name() -> None:
    wanted = [
        utterance("z", "a", 2.0),
        utterance("b", "a", 10.0),
        utterance("c", "a", 10.0),
        utterance("a", "b", 0.0),
    ]
    corpus = RawCorpus("mosei", ROOT, utterances=[wanted[place] for place in (2, 3, 1, 0)])
    for name, file in (("b", "x"), ("a", "y"), ("a", "x")):
        corpus.skip(name, "r", ROOT / file)
    corpus.sort()
    assert corpus.utterances == wanted
    assert [(clip.clip_id, clip.file) for clip in corpus.skipped] == [
        ("a", "x"),
        ("a", "y"),
        ("b", "x"),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_text_is_read_as_utf_8_or_latin_1_without_a_byte_order_mark(
    tmp_path: Path, encoding: str
) -> None:
    (tmp_path / "t.txt").write_bytes("Señor, déjà vu".encode(encoding))
    assert read_text(tmp_path / "t.txt") == "Señor, déjà vu"


def test_line_ends_of_all_systems_end_lines_and_nothing_else_does(tmp_path: Path) -> None:
    # str.splitlines would also split at a next-line or a line separator, which is part of a text.
    (tmp_path / "t.txt").write_bytes("a\r\nb\rc\n\nd\x85e\u2028f\x0cg\n".encode())
    assert read_lines(tmp_path / "t.txt") == ["a", "b", "c", "", "d\x85e\u2028f\x0cg", ""]
    (tmp_path / "t.txt").write_bytes(b"")
    assert read_lines(tmp_path / "t.txt") == [""]
