import io
import pickle
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mesm.corpora.assembly import assemble, collect
from mesm.corpora.manifest import FORMAT, Manifest
from mesm.corpora.parts import write_part
from mesm.corpora.prepared import SCHEMA, ClipList, PreparedCorpus

CLIPS = 19


def png(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG")
    return stream.getvalue()


def faces(i):
    return np.random.default_rng(i).integers(0, 256, (1 + i % 3, 48, 48, 3), dtype=np.uint8)


def spectrogram(i):
    return np.random.default_rng(i).normal(-8, 3, (128, 5 + i)).astype(np.float32)


def row(i):
    n = len(faces(i))
    return {
        "clip_id": f"clip{i}",
        "text": f"text {i} é",
        "speaker": "s",
        "dialog": f"d{i % 4}",
        "start": i,
        "end": i + 1.5,
        "labels": [i % 2, 1],
        "faces": [png(image) for image in faces(i)],
        "face_found": [k % 2 == 0 for k in range(n)],
        "face_boxes": [[k, i, k + 10, i + 10] for k in range(n)],
        "face_times": [i + 0.5 * k for k in range(n)],
        "spectrogram": spectrogram(i).ravel(),
        "spectrogram_columns": 5 + i,
    }


@pytest.fixture
def prepared(tmp_path):
    out = tmp_path / "prepared"
    (out / "data").mkdir(parents=True)
    write_part(
        tmp_path / "d.parquet", pa.Table.from_pylist([row(i) for i in range(CLIPS)], SCHEMA), []
    )
    splits = {f"clip{i}": "test" if i in (3, 7) else "train" for i in range(CLIPS)}
    rows, _ = collect([tmp_path / "d.parquet"])
    files, figures = assemble(rows, splits, ("angry", "happy"), out / "data", lambda n: None)
    mean, std = figures.mean_and_std()
    manifest = Manifest(
        format=FORMAT,
        corpus="iemocap",
        emotions=["angry", "happy"],
        counts=figures.counts(),
        averages=figures.averages(),
        spectrogram_mean=mean,
        spectrogram_std=std,
        faces=figures.faces(),
        skipped=[],
        skipped_by_reason={},
        other_labels={},
        unlisted=[],
        missing=[],
        notes=[],
        options={},
        files={f"data/{file.name}": hashed for file, hashed in files.items()},
    )
    (out / "manifest.json").write_text(manifest.model_dump_json())
    return out


def check(clip, i, split):
    assert (clip.clip_id, clip.text, clip.split) == (f"clip{i}", f"text {i} é", split)
    assert (clip.start, clip.end, clip.speaker, clip.dialog) == (i, i + 1.5, "s", f"d{i % 4}")
    assert clip.labels.dtype == np.int8
    assert clip.labels.tolist() == [i % 2, 1]
    assert np.array_equal(clip.faces, faces(i))
    n = len(faces(i))
    assert clip.face_found.tolist() == [k % 2 == 0 for k in range(n)]
    assert clip.face_boxes.tolist() == [[k, i, k + 10, i + 10] for k in range(n)]
    assert clip.face_times.tolist() == [i + 0.5 * k for k in range(n)]
    assert clip.spectrogram.dtype == np.float32
    assert np.array_equal(clip.spectrogram, spectrogram(i))


def test_every_clip_comes_back_in_any_order(prepared):
    corpus = PreparedCorpus.open(prepared)
    train = corpus.split("train")
    wanted = [i for i in range(CLIPS) if i not in (3, 7)]
    assert len(train) == len(wanted)
    for place in np.random.default_rng(0).permutation(len(wanted)):
        check(train[int(place)], wanted[place], "train")
    for clip, i in zip(train, wanted, strict=True):
        check(clip, i, "train")
    assert [clip.clip_id for clip in train[-2:]] == ["clip17", "clip18"]
    assert len(corpus.split("valid")) == 0
    check(corpus.clip("clip7"), 7, "test")


def test_columns_are_in_the_order_of_the_clips(prepared):
    clips = PreparedCorpus.open(prepared).split("train")
    assert clips.clip_ids == [clip.clip_id for clip in clips]
    assert clips.dialogs == [clip.dialog for clip in clips]
    assert clips.labels.tolist() == [clip.labels.tolist() for clip in clips]


def test_a_split_can_be_sent_to_another_process(prepared):
    train = PreparedCorpus.open(prepared).split("train")
    check(train[0], 0, "train")
    check(pickle.loads(pickle.dumps(train))[1], 1, "train")


def test_refusals_name_what_is_wrong(prepared, tmp_path):
    with pytest.raises(ValueError, match=r"is not a prepared corpus: no manifest\.json; run mesm"):
        PreparedCorpus.open(tmp_path)
    corpus = PreparedCorpus.open(prepared)
    corpus.verify()
    with pytest.raises(ValueError, match="split must be one of train, valid, test, got 'dev'"):
        corpus.split("dev")
    with pytest.raises(ValueError, match=r"has no clip 'clip99'; near are clip"):
        corpus.clip("clip99")
    file = prepared / "data" / "test-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"test-00000-of-00001\.parquet is not as it was written"):
        corpus.verify()
    file.unlink()
    with pytest.raises(ValueError, match=r"test-00000-of-00001\.parquet is not there"):
        PreparedCorpus.open(prepared)


def picture(mode="RGB", size=(48, 48), kind="PNG", **options):
    stream = io.BytesIO()
    Image.new(mode, size, 7).save(stream, format=kind, **options)
    return stream.getvalue()


def declared(width, height):
    """A picture whose header says another size, with the checksum that fits."""
    content = bytearray(picture())
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize(
    "face",
    [
        *(picture()[:cut] for cut in (0, 8, 20, 60, -30)),
        *(picture(mode) for mode in ("L", "LA", "P", "1", "I;16", "RGBA")),
        *(picture(size=size) for size in ((1, 1), (48, 47), (96, 96))),
        *(picture(mode, kind="JPEG") for mode in ("RGB", "L", "CMYK")),
        *(
            declared(*size)
            for size in ((48, 49), (0, 48), (60_000, 60_000), (2**31 - 1, 2**31 - 1))
        ),
        b"nonsense" * 9,
    ],
)
def test_a_face_that_prepare_does_not_write_is_refused(tmp_path, face):
    values = row(0) | {"faces": [face], "face_found": [True], "face_boxes": [[0, 0, 1, 1]]}
    file = tmp_path / "test-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist([values | {"face_times": [0.0]}], SCHEMA), file)
    with pytest.raises(ValueError, match=r"test-0.*parquet cannot be read as prepared clips \(.*;"):
        ClipList([file], "test")[0]


def test_a_note_on_how_to_turn_a_face_changes_nothing(tmp_path):
    """`mesm prepare` writes pictures upright, and none of them carries such a note."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(faces(0)[0])
    stream = io.BytesIO()
    image.save(stream, format="PNG", exif=exif)
    file = tmp_path / "test-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist([row(0) | {"faces": [stream.getvalue()]}], SCHEMA), file)
    assert np.array_equal(ClipList([file], "test")[0].faces, faces(0)[:1])
