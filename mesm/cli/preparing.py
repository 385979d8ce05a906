"""`mesm prepare`: a raw corpus, or a table of one's own, to a prepared one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mesm.cli.shared import Mtcnn, Ray, at_least, on_cluster
from mesm.corpora.registry import CORPORA, reader_of
from mesm.corpora.splits import SplitPolicy
from mesm.corpora.table.problems import TableError
from mesm.runs.storage import Store, check_url, is_url

if TYPE_CHECKING:
    CorpusName = str
else:
    CorpusName = Literal[tuple(CORPORA)]

TABLE = "table"


def prepare(
    corpus: Annotated[CorpusName, typer.Argument(help="Layout of RAW.")],
    raw: Annotated[
        str | None,
        typer.Argument(
            help="The raw corpus: a folder, or s3://BUCKET/FOLDER; table: a file with a clip a "
            "line."
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Argument(help="Folder for the prepared corpus (Parquet), or s3://BUCKET/FOLDER."),
    ] = None,
    split: Annotated[
        SplitPolicy | None,
        typer.Option(
            help="70/10/20 at random, or with no speaker or no group (dialog, video) in two "
            "splits; column: as the corpus itself says. Default: the corpus' own way."
        ),
    ] = None,
    splits: Annotated[
        Path | None,
        typer.Option(help="Folder with published id lists, e.g. iemocap_train.txt; beats --split."),
    ] = None,
    seed: Annotated[int, typer.Option(callback=at_least(0), help="Seed of the split.")] = 0,
    workers: Annotated[
        int | None, typer.Option(callback=at_least(1), help="Processes; default: all cores.")
    ] = None,
    ray: Ray = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="With a URL: folder for files under way; default: of the system's temporary files."
        ),
    ] = None,
    min_face_size: Annotated[
        int,
        typer.Option(
            callback=at_least(12), help="Smallest face searched for, in pixels; larger is faster."
        ),
    ] = 20,
    device: Annotated[
        str, typer.Option(help="Where faces are searched for: cpu, cuda or cuda:N.")
    ] = "cpu",
    mtcnn: Mtcnn = None,
    faces: Annotated[
        Literal["largest", "track"],
        typer.Option(help="Whose face: the largest of each frame, or the one seen longest."),
    ] = "largest",
    song: Annotated[
        bool, typer.Option("--song", help="ravdess: read songs too, beside speech.")
    ] = False,
    labels: Annotated[
        str | None,
        typer.Option(
            help="table: the emotions in their order, as happy,sad. crema_d: intended (default) or "
            "rated, which the raters chose."
        ),
    ] = None,
    above: Annotated[
        str | None,
        typer.Option(
            metavar="RATING", help="table: a column's emotion is there above this rating."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="table: the corpus' title in tables.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="table: only look whether all is right; status 0 or 1.")
    ] = False,
    example: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="table: write a table and a few generated clips there."),
    ] = None,
) -> None:
    """Turn a raw corpus into faces, spectrograms and text, in Parquet; resumes where it stopped.

    The status is 1 where a split has no clip in the end: its own splits cannot be trained on then.
    """
    reading = _reading(
        corpus, {"song": song or None, "labels": labels, "above": above, "name": name}
    )
    if corpus != TABLE and (check or example is not None):
        option = "check" if check else "example"
        raise ValueError(f"prepare: --{option} is for {TABLE}, not for {corpus}; leave it out")
    if example is not None:
        from mesm.corpora.table.example import write_example

        elsewhere = (ray, cache)
        looked = (min_face_size != 20, device != "cpu", faces != "largest", mtcnn is not None)
        others = (raw, split, splits, seed, reading, *looked, *elsewhere, check)
        if any(others):
            raise ValueError("prepare: --example only writes a table; leave the rest out")
        typer.echo(write_example(example, workers))
        return
    if raw is None or (out is None and not check):
        missing = "RAW" if raw is None else "OUT"
        raise ValueError(f"prepare: missing argument '{missing}'; see mesm prepare --help")
    _check_places(corpus, raw, out, splits, ray, cache, check)
    try:
        if check:
            from mesm.corpora.table.check import check_table

            if splits is not None:
                raise ValueError("prepare: --check knows no lists; leave --splits out")
            typer.echo("\n".join(check_table(Path(raw), split, seed, **reading)))
            return
        from mesm.corpora.prepare import PrepareOptions
        from mesm.corpora.summary import empty_splits

        assert out is not None
        options = PrepareOptions(
            split=split,
            splits=splits,
            seed=seed,
            workers=workers,
            min_face_size=min_face_size,
            reading=reading,
            device=device,
            faces=faces,
            mtcnn=mtcnn,
        )
        with on_cluster(ray) as cluster:
            if is_url(raw) or is_url(out):
                from mesm.corpora.remote import prepare_remote

                manifest = prepare_remote(
                    *(corpus, _place(raw, "RAW"), _place(out, "OUT"), options, cluster, cache)
                )
            else:
                from mesm.corpora.prepare import prepare as run

                manifest = run(corpus, Path(raw), Path(out), options, cluster)
        empty = empty_splits(manifest)
        if empty:
            shown = " and ".join(empty)
            typer.echo(f"mesm: {out}: prepared, but without a clip in {shown}; see above", err=True)
            raise typer.Exit(1)
    except TableError as error:
        typer.echo("\n".join(error.lines), err=not check)
        if check:
            typer.echo(error.head)
            raise typer.Exit(1) from error
        raise ValueError(f"{error.head}; mend what the lines above name") from error


def _check_places(
    corpus: str,
    raw: str,
    out: str | None,
    splits: Path | None,
    ray: str | None,
    cache: Path | None,
    check: bool,
) -> None:
    """Refuse URLs and options of other machines where they have no meaning."""
    urls = [place for place in (raw, out) if place is not None and is_url(place)]
    for place, what in ((raw, "RAW"), (out, "OUT")):
        if place is not None and is_url(place):
            check_url(place, what)
    if splits is not None and ":/" in str(splits):
        raise ValueError("prepare: --splits must be a folder on disk: copy it")
    if cache is not None and not urls:
        raise ValueError("prepare: --cache is for RAW or OUT on object storage; leave it out")
    if cache is not None and ":/" in str(cache):
        raise ValueError("prepare: --cache must be a folder on disk")
    if check and (urls or ray is not None):
        raise ValueError("prepare: --check looks at files on disk, here; leave URLs and --ray out")
    if corpus == TABLE and is_url(raw):
        raise ValueError("prepare: a table and its recordings must lie on disk: copy them")


def _place(given: str, what: str) -> Path | Store:
    return Store(check_url(given, what)) if is_url(given) else Path(given)


def _reading(corpus: str, given: dict[str, Any]) -> dict[str, Any]:
    """The options of reading that were given; ValueError for one that the corpus' reader lacks."""
    found = {option: value for option, value in given.items() if value is not None}
    reader_of(corpus, found)
    return found
