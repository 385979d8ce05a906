"""The `mesm` command: one subcommand per step, each a thin call into its module."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from mesm.cli.exporting import export
from mesm.cli.predicting import predict
from mesm.cli.preparing import prepare
from mesm.cli.serving import serve
from mesm.cli.shared import Corpus, Mtcnn, Ray, Refusing, Split, at_least, on_cluster, share, step
from mesm.cli.sharing import publish
from mesm.cli.tables import tables
from mesm.runs.memory import keep_freed_pages

# Threads that spin at barriers stand still for seconds where another program wants their core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    name="mesm",
    cls=Refusing,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _settings() -> None:
    """Multimodal end-to-end sparse model for emotion recognition: raw clips in, tables out."""
    keep_freed_pages()


@app.command()
def miniature(
    out: Annotated[Path, typer.Argument(help="Folder to create; it must not hold anything.")],
    clips: Annotated[int, typer.Option(callback=at_least(1), help="Number of utterances.")] = 240,
    seed: Annotated[int, typer.Option(callback=at_least(0), help="Same seed, same corpus.")] = 0,
    layout: Annotated[
        Literal["iemocap", "mosei", "meld", "ravdess", "crema_d"],
        typer.Option(help="Whose on-disk layout to write."),
    ] = "iemocap",
    variant: Annotated[
        Literal["hints", "where"],
        typer.Option(
            help="Each modality hints at the emotion, or the text says which half of the face does "
            "(not ravdess, crema_d: their sentences are given)."
        ),
    ] = "hints",
    faults: Annotated[
        bool, typer.Option("--faults", help="Add the defects of real corpora.")
    ] = False,
) -> None:
    """Generate a small synthetic corpus in the raw layout of a real one."""
    from mesm.corpora.miniature.generate import generate

    generate(out, clips=clips, seed=seed, layout=layout, variant=variant, faults=faults)


app.command()(prepare)


@app.command()
def features(
    corpus: Annotated[Path, typer.Argument(help="A prepared corpus.")],
    raw: Annotated[Path, typer.Option(help="The raw corpus it was prepared from.")],
    openface: Annotated[
        Path | None, typer.Option(help="Folder of OpenFace's CSV files; default: RAW/OpenFace.")
    ] = None,
    glove: Annotated[
        Path | None,
        typer.Option(help="GloVe's vectors, text or gzip; default: RAW/glove.txt or .txt.gz."),
    ] = None,
    phonet: Annotated[
        Path | None,
        typer.Option(help="Folder of Phonet's CSV files; default: posteriors are computed."),
    ] = None,
    video_step: Annotated[
        float,
        typer.Option(callback=step, help="Seconds between rows of the video; 0: all frames."),
    ] = 0.1,
    workers: Annotated[
        int | None, typer.Option(callback=at_least(1), help="Processes; default: all cores.")
    ] = None,
    ray: Ray = None,
) -> None:
    """Make the hand-crafted features of the two-phase baselines; resumes where it stopped."""
    from mesm.corpora.prepared import PreparedCorpus
    from mesm.features.make import FeatureOptions, make_features

    options = FeatureOptions(
        raw=raw,
        openface=openface,
        glove=glove,
        phonet=phonet,
        video_step=video_step,
        workers=workers,
    )
    with on_cluster(ray) as cluster:
        make_features(PreparedCorpus.open(corpus), options, cluster)


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped config.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes, e.g. training.epochs=3 model.p=0.7.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Folder of the run; resumed if it exists; default: runs/CONFIG."),
    ] = None,
) -> None:
    """Train one of the six systems; the same command resumes a run that was stopped."""
    from mesm.config.files import load_config
    from mesm.training.loop import train as start

    loaded = load_config(config, overrides or [])
    start(loaded, run or Path("runs") / Path(config).stem)


@app.command()
def experiment(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped grid.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes to all cells, e.g. corpus=prepared/mini.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder, resumed if it exists; default: experiments/CONFIG."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            callback=at_least(1), help="Trainings at a time; default: one per GPU, else per core."
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            callback=at_least(1), help="Of each; default: 1, or with GPUs a share of the cores."
        ),
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Cells or groups to run, e.g. results or '*--seed-0'.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the cells and how far they are; start none.")
    ] = False,
    ray: Ray = None,
) -> None:
    """Train and score a whole grid: systems x seeds x p; the same command goes on where it was."""
    from mesm.experiment import run_experiment

    with on_cluster(ray) as cluster:
        failures = run_experiment(
            config,
            out or Path("experiments") / Path(config).stem,
            overrides or [],
            jobs=jobs,
            threads=threads,
            only=only,
            dry_run=dry_run,
            cluster=cluster,
        )
    for name, message in failures.items():
        typer.secho(f"mesm: {name} failed: {message}", fg=typer.colors.RED, err=True)
    if failures:
        raise typer.Exit(1)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run.")],
    split: Annotated[Split, typer.Option(help="Split to score.")] = "test",
    threshold: Annotated[
        Literal["tuned", "tuned_wacc", "0.5"] | None,
        typer.Option(help="Instead of the run's own: tuned on validation F1 or WAcc, or 0.5."),
    ] = None,
    f1: Annotated[
        Literal["binary", "weighted"] | None,
        typer.Option(help="Instead of the run's own: which F1 is shown."),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Another run: print by how much RUN scores above it.")
    ] = None,
    cluster: Annotated[
        Literal["clip", "dialog"],
        typer.Option(help="What the bootstrap draws; utterances of a dialog are not independent."),
    ] = "clip",
    draws: Annotated[
        int, typer.Option(callback=at_least(1), help="Resamples of the bootstrap.")
    ] = 1000,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Predict anew, whatever predictions are kept.")
    ] = False,
    query: Annotated[
        Literal["own", "other"],
        typer.Option(help="other: MESM's attention is asked by another clip's query."),
    ] = "own",
    corpus: Corpus = None,
) -> None:
    """Score a run: accuracy (or weighted accuracy) and F1 per emotion; thresholds are named."""
    from mesm.evaluation.bootstrap import Bootstrap

    bootstrap = Bootstrap(draws=draws, cluster=cluster)
    if against is None:
        from mesm.evaluation.evaluate import evaluate_run
        from mesm.plots.confusion import save_confusion
        from mesm.plots.reliability import save_reliability

        scores = evaluate_run(
            *(run, split),
            threshold=threshold,
            f1=f1,
            bootstrap=bootstrap,
            fresh=fresh,
            query=query,
            corpus=corpus,
        )
        if query == "own":
            typer.echo(save_reliability(run, scores))
            if "confusion" in scores:
                typer.echo(save_confusion(run, scores))
    else:
        if query == "other":
            raise ValueError("evaluate: --against asks by own queries; leave --query out")
        from mesm.evaluation.against import compare_runs

        compare_runs(
            *(run, against, split),
            threshold=threshold,
            f1=f1,
            bootstrap=bootstrap,
            fresh=fresh,
            corpus=corpus,
        )


app.add_typer(tables, name="table")


@app.command()
def sweep(
    run: Annotated[Path, typer.Argument(help="Folder of a trained MESM run.")],
    p: Annotated[
        str | None,
        typer.Option(help="first:last:step, or values with commas; default: 0.1:1.0:0.1."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Share of the dense FLOPs, or several with commas: finds p per block instead."
        ),
    ] = None,
    baseline: Annotated[Path | None, typer.Option(help="An FE2E run to stand beside.")] = None,
    split: Annotated[Split, typer.Option(help="Split to score.")] = "test",
    norms: Annotated[
        int,
        typer.Option(
            callback=at_least(0),
            metavar="CLIPS",
            help="Count batch norms' statistics again at each p, on so many training clips.",
        ),
    ] = 0,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Also train one model per p; goes on if stopped.")
    ] = False,
    runs: Annotated[
        list[Path] | None,
        typer.Option(help="With --retrain: folders of finished runs to use; may be repeated."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            callback=at_least(1), help="With --retrain: trainings at a time; as in experiment."
        ),
    ] = None,
    corpus: Corpus = None,
) -> None:
    """Measure quality, FLOPs, latency and active sites per p (the paper's Figure 5)."""
    from mesm.analysis.budget import budget_lines, find_budget, parse_budgets
    from mesm.analysis.sweep import parse_p_values, sweep_lines
    from mesm.analysis.sweep import sweep as run_sweep
    from mesm.runs.documents import Sweep
    from mesm.runs.files import read_json

    if (runs or jobs is not None) and not retrain:
        raise ValueError("--runs and --jobs are for --retrain only")
    if budget is not None:
        if p is not None:
            raise ValueError("sweep: --budget finds p itself; leave --p out")
        if norms:
            raise ValueError("sweep: --norms goes with --p, not with --budget")
        if retrain:
            raise ValueError("sweep: --budget and --retrain are two questions; ask one")
        shares = parse_budgets(budget)
        result = find_budget(run, shares, baseline=baseline, split=split, corpus=corpus)
        typer.echo("\n".join(budget_lines(result)))
        return
    values = parse_p_values("0.1:1.0:0.1" if p is None else p)
    if retrain:
        from mesm.analysis.retrain import retrain as run_retrain

        retrained = run_retrain(
            *(run, values, baseline, split),
            runs=runs or [],
            jobs=jobs,
            norm_clips=norms,
            corpus=corpus,
        )
        swept = [read_json(run / "sweep.json", Sweep), retrained]
    else:
        swept = [run_sweep(run, values, baseline, split, norm_clips=norms, corpus=corpus)]
    for found in swept:
        typer.echo("\n".join(sweep_lines(found)))
    files = ["sweep.json", "sweep.png", *(["retrain.json"] if retrain else [])]
    typer.echo(", ".join(str(run / name) for name in files))


# An id of a CMU-MOSEI clip may begin with dashes, which are no option then.
@app.command(context_settings={"ignore_unknown_options": True})
def explain(
    run: Annotated[Path, typer.Argument(help="Folder of a trained MESM run.")],
    clip: Annotated[
        str | None,
        typer.Argument(
            help="Clip id, behind -- if it is called as an option is; default: one test clip per "
            "emotion."
        ),
    ] = None,
    ground_truth: Annotated[
        Path | None,
        typer.Option(help="ground_truth.jsonl of a miniature corpus, to score the attention."),
    ] = None,
    p: Annotated[
        float | None,
        typer.Option(callback=share, help="Another share than the run's own."),
    ] = None,
    corpus: Corpus = None,
) -> None:
    """Draw what the attention keeps, on faces and spectrograms (the paper's Figures 3, 4 and 6)."""
    from mesm.analysis.explain import explain as run_explain

    found = run_explain(run, clip, p=p, ground_truth=ground_truth, corpus=corpus)
    typer.echo("\n".join(map(str, found["files"])))


app.command()(predict)


app.command()(serve)


@app.command()
def report(
    out: Annotated[Path, typer.Argument(help="The HTML file to write.")],
    runs: Annotated[list[Path], typer.Argument(help="Folders of trained runs.")],
    corpus: Corpus = None,
) -> None:
    """Put what runs hold into one HTML page: tables, learning curves, p-curve, pictures."""
    from mesm.report.page import write_report

    typer.echo(write_report(out, runs, corpus=corpus))


app.command()(publish)


app.command()(export)


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="Folder of a prepared corpus or of a run.")],
    corpus: Corpus = None,
) -> None:
    """Check a corpus or a run whole, and say what to do: exit status 0 whole, 1 with findings."""
    from mesm.analysis.verify import examine

    found = examine(path, corpus)
    for finding in found.findings:
        typer.echo(finding)
    if found.findings:
        raise typer.Exit(1)
    typer.echo(f"{path}: whole ({', '.join(dict.fromkeys(found.checked))})")


@app.command()
def demo(
    out: Annotated[Path, typer.Argument(help="Folder for everything the demo makes.")],
    mtcnn: Mtcnn = None,
) -> None:
    """Run the whole experiment on a miniature corpus; ends with the path of report.html."""
    from mesm.demo import run_demo

    run_demo(out, mtcnn=mtcnn)
