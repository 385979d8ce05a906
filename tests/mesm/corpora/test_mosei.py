import pytest

from mesm.corpora.mosei import ANSWERS, read_mosei

HEADER = "HITId,Input.VIDEO_ID,Input.CLIP," + ",".join(ANSWERS)
ROWS = [
    "1,-6rXp3zJ3kc,3,0,0,0,2,0,0",
    "2,-6rXp3zJ3kc,3,1,0,0,0,0,0",
    "3,-6rXp3zJ3kc,4,0,0,0,0,0,0",
    '4,_a_b,0,0,1,,"3",0,1',
]
TRANSCRIPTS = {
    "-6rXp3zJ3kc": "-6rXp3zJ3kc___3___12.5___20.25___I like it___a lot\n"
    "-6rXp3zJ3kc___4___20.25___22___Well.\n",
    "_a_b": "_a_b___0___0.0___3.5___Über alles\n",
}


def build(root, rows=ROWS, transcripts=TRANSCRIPTS, header=HEADER):
    (root / "Labels").mkdir(parents=True)
    (root / "Labels" / "first.csv").write_text("\n".join([header, *rows[:1]]) + "\n")
    (root / "Labels" / "second.csv").write_text("\n".join([header, *rows[1:]]) + "\n")
    (root / "Transcript" / "Combined").mkdir(parents=True)
    for video, text in transcripts.items():
        (root / "Transcript" / "Combined" / f"{video}.txt").write_text(text, encoding="utf-8")
    return root


def test_answers_are_summed_over_rows_and_files(tmp_path):
    corpus = read_mosei(build(tmp_path))
    assert not corpus.skipped
    by_id = {u.clip_id: u for u in corpus.utterances}
    assert list(by_id) == ["-6rXp3zJ3kc_3", "-6rXp3zJ3kc_4", "_a_b_0"]
    # angry, disgusted, fear, happy, sad, surprised
    assert by_id["-6rXp3zJ3kc_3"].labels == (1, 0, 0, 1, 0, 0)
    assert by_id["_a_b_0"].labels == (0, 1, 0, 1, 0, 1)
    # Rated, and no emotion found: kept.
    assert by_id["-6rXp3zJ3kc_4"].labels == (0, 0, 0, 0, 0, 0)


def test_utterances(tmp_path):
    first, _, last = read_mosei(build(tmp_path)).utterances
    assert (first.start, first.end) == (12.5, 20.25)
    assert first.text == "I like it___a lot"
    assert (first.half, first.channel) == (None, None)
    assert first.speaker == first.dialog == "-6rXp3zJ3kc"
    assert first.audio == tmp_path / "Audio" / "WAV_16000" / "-6rXp3zJ3kc.wav"
    assert first.video == tmp_path / "Videos" / "Full" / "Combined" / "-6rXp3zJ3kc.mp4"
    assert last.dialog == "_a_b"
    assert last.text == "Über alles"


def test_what_cannot_be_read_is_named_with_its_line(tmp_path):
    rows = [*ROWS, "5,v,0,many,0,0,0,0,0", "6,v,1,1,0,0,0,0,0", "7,v,2,1,0,0,0,0,0"]
    rows += ["8,v,3,1,0,0,0,0,0", "9,gone,0,1,0,0,0,0,0"]
    transcripts = {
        **TRANSCRIPTS,
        "v": "v___0___0___1___Rated badly\nv___1___2___2___No length\nv___2___3___4___ \n"
        "v___3___five___6___No start\nv___9___7___8___Never rated\nother___0___0___1___Astray\n"
        "v___3___5___6___Good\nv___3___5___6___Again\n",
    }
    corpus = read_mosei(build(tmp_path, rows, transcripts))
    assert len(corpus.utterances) == 4
    found = [(s.clip_id, s.reason, s.file.rpartition("/")[2]) for s in corpus.skipped]
    assert sorted(found) == [
        ("", "transcript of another video", "v.txt:6"),
        ("", "unreadable transcript", "v.txt:4"),
        ("gone_0", "no transcript", "second.csv:9"),
        ("v_0", "unreadable label", "second.csv:5"),
        ("v_1", "zero length", "v.txt:2"),
        ("v_2", "empty transcript", "v.txt:3"),
        ("v_3", "transcribed twice, first kept", "v.txt:8"),
        ("v_9", "no label", "v.txt:5"),
    ]


def test_label_files_of_another_kind_are_passed_over(tmp_path):
    build(tmp_path)
    (tmp_path / "Labels" / "extra.csv").write_text("a,b\n1,2\n")
    corpus = read_mosei(tmp_path)
    assert corpus.notes == ["passed over Labels/extra.csv: no column Input.VIDEO_ID"]
    assert len(corpus.utterances) == 3


def test_another_folder_is_refused_with_what_was_wanted(tmp_path):
    with pytest.raises(
        ValueError, match=r"is not CMU-MOSEI: it has no Transcript/Combined or .*, Lab"
    ):
        read_mosei(tmp_path)
    build(tmp_path / "other", header="a,b,c,d,e,f,g,h,i")
    with pytest.raises(ValueError, match=r"no label file with the columns Input\.VIDEO_ID"):
        read_mosei(tmp_path / "other")
