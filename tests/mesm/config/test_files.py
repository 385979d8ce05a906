import tomllib
from pathlib import Path

import pytest

from mesm.config.files import SHIPPED, differing_keys, dump_config, load_config, shipped

# Batch size, learning rate, gradient clipping.
BASELINES = {
    "lf_lstm": (32, 5e-4, 2.0),
    "lf_transformer": (32, 5e-4, 2.0),
    "emo_embs": (64, 1e-3, 1.0),
    "mult": (24, 1e-3, 0.8),
}
CORPORA = ("iemocap", "mosei", "miniature", "meld", "ravdess", "crema_d", "own")
PAPER = [f"{corpus}_{model}" for corpus in ("iemocap", "mosei") for model in ("fe2e", "mesm")]


def test_every_corpus_is_shipped_with_every_system():
    systems = ("fe2e", "mesm", *BASELINES)
    names = {f"{corpus}_{name}": (corpus, name) for corpus in CORPORA for name in systems}
    assert set(shipped()) == set(names)
    for name, (corpus, system) in names.items():
        config = load_config(name)
        assert config.model.name == system
        assert config.corpus == Path("prepared") / corpus


@pytest.mark.parametrize("corpus", ["meld", "ravdess", "crema_d"])
def test_a_corpus_that_the_paper_does_not_have_changes_no_system(corpus):
    for system in ("fe2e", "mesm", *BASELINES):
        other, own = load_config(f"mosei_{system}"), load_config(f"{corpus}_{system}")
        keys = {key.split(" ")[0] for key in differing_keys(other, own)}
        assert keys == {"corpus", "evaluation.threshold"}


def test_text_can_be_left_out_where_it_cannot_tell():
    for corpus in ("ravdess", "crema_d"):
        assert load_config(f"{corpus}_fe2e", ["model.modalities=va"]).model.modalities == "av"
        for query in ("face", "audio"):
            changes = ["model.modalities=va", f"model.query={query}"]
            assert load_config(f"{corpus}_mesm", changes).model.query == query
        with pytest.raises(ValueError, match="mesm needs the text"):
            load_config(f"{corpus}_mesm", ["model.modalities=va"])


def test_a_corpus_changes_all_systems_and_then_each():
    miniature, published = (load_config(f"{corpus}_mult") for corpus in ("miniature", "iemocap"))
    assert (miniature.model.dim, published.model.dim) == (20, 40)
    # Neither the corpus nor its changes of the system name these.
    assert miniature.model.max_words == published.model.max_words == 50
    assert miniature.model.kernels == published.model.kernels
    # All systems of a corpus.
    assert miniature.training.keep == "last"
    assert published.training.keep == "best"
    assert load_config("miniature_fe2e").model.text.vocabulary == 600
    assert load_config("iemocap_fe2e").model.text.vocabulary == 8000


def test_shipped_files_are_packaged():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["mesm"]
    root = SHIPPED.parents[1]
    packaged = {file for pattern in patterns for file in root.glob(pattern)}
    files = set(SHIPPED.rglob("*.yaml"))
    assert len(files) > 9
    assert files <= packaged


@pytest.mark.parametrize("corpus", ["iemocap", "mosei"])
@pytest.mark.parametrize("name", BASELINES)
def test_baselines_have_their_published_settings(corpus, name):
    config = load_config(f"{corpus}_{name}")
    batch_size, rate, clip = BASELINES[name]
    assert config.training.batch_size == batch_size
    assert config.training.learning_rate == rate
    assert config.training.gradient_clip == clip
    assert config.training.schedule == ("plateau" if name == "emo_embs" else "constant")
    assert config.model.max_words == 50
    assert config.evaluation.threshold == ("tuned" if corpus == "iemocap" else "0.5")


@pytest.mark.parametrize("name", PAPER)
def test_shipped_configs_hold_the_papers_table_6(name):
    config = load_config(name)
    corpus, model = name.split("_")
    assert config.model.name == model
    assert config.training.batch_size == 8
    assert config.training.learning_rate == 5e-5
    assert config.training.text_learning_rate_factor == 0.1
    assert (config.model.dim, config.model.heads, config.model.layers) == (64, 4, 4)
    assert config.model.text.max_length == (50 if model == "fe2e" else 100)
    assert config.model.channels == [64, 128, 256, 512]
    assert config.evaluation.threshold == ("tuned" if corpus == "iemocap" else "0.5")
    assert config.evaluation.f1 == "binary"


def test_models_of_a_corpus_differ_only_where_they_must():
    for corpus in CORPORA:
        keys = differing_keys(load_config(f"{corpus}_fe2e"), load_config(f"{corpus}_mesm"))
        names = {key.split(" ")[0] for key in keys}
        sparse = {"model.name", "model.p", "model.selection", "model.attention_dims"}
        sparse |= {
            "model.query_shuffle",
            "model.local_start",
            "model.positive_start",
            "model.query",
            "training.attention_learning_rate_factor",
        }
        # FE2E's sound gains nothing by log1p (docs/measured.md).
        sparse |= {"model.sound", "training.p_hold_epochs", "training.p_drawn"}
        sparse |= {"training.p_warmup_epochs", "training.concentration"}
        sparse |= {"training.concentration_target", "training.concentrated"}
        assert names <= sparse | {"model.text.max_length"}


def test_overrides_are_yaml():
    config = load_config(
        "iemocap_mesm",
        [
            "training.epochs=3",
            "training.learning_rate=1e-3",
            "model.channels=[1, 2, 3, 4]",
            "model.text.path=some/folder",
            "evaluation.threshold=0.5",
            "model.modalities=vt",
        ],
    )
    assert config.training.epochs == 3
    assert config.training.learning_rate == 1e-3
    assert config.model.channels == [1, 2, 3, 4]
    assert config.model.text.path == Path("some/folder")
    assert config.evaluation.threshold == "0.5"
    assert config.model.modalities == "tv"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=3", "no key training.epoch; did you mean training.epochs?"),
        ("modle.p=0.5", "no key modle; did you mean model?"),
        ("model.text.max_len=3", "no key model.text.max_len; did you mean model.text.max_length?"),
        ("training.zzz=3", "no key training.zzz; known are seed, epochs"),
        ("model.p=0", r"model\.p: p must be in \(0, 1\], got 0$"),
        ("model.p=1.01", r"model\.p: p must be in \(0, 1\], got 1\.01$"),
        ("model.p=[0.5,0.5,0]", r"model\.p: p must be in \(0, 1\], got 0$"),
        ("model.p=[0.5,0.5]", r"model\.p: p per block must be 3 numbers, got \[0\.5, 0\.5\]"),
        ("model.p=much", "model.p: p must be a number, 3 of them, or .*got 'much'"),
        ("model.p={nose: 0.5}", "model.p: p per modality must name face and audio, got .*nose"),
        ("model.p={face: 0.5}", "p has none for audio, got .*face"),
        ("model.query=smell", "model.query: .*'text', 'audio', 'face' or 'mean', got 'smell'"),
        ("training.p_start=0", "training.p_start: .*greater than 0, got 0"),
        ("training.p_shape=step", "training.p_shape: .*'linear' or 'cosine'"),
        ("model.modalities=av", r"needs the text \(t\) as its query, got 'av'"),
        ("model.modalities=txa", "modalities must be one of tav.*got 'txa'"),
        ("model.name=vgg", "model: .*'fe2e', 'mesm'"),
        ("training=3", "training: .*got 3"),
        ("training.epochs.more=3", "epochs has no keys below it"),
        ("training.epochs", "override must look like training.epochs=3"),
        ("training.epochs=[", "not YAML"),
        ("training.epochs=true", "training.epochs: wanted a number, got true"),
        ("training.epochs='3'", "training.epochs: wanted a number, got '3'"),
        ("training.epochs=010", "override 'training.epochs=010': not YAML .*'010' may be read"),
        ("training.epochs=99999999999", "training.epochs: .*less than or equal to 2147483647"),
        ("model.channels=[4, true, 4, 4]", "model.channels.1: wanted a number, got true"),
        ("model.dropout=.nan", "model.dropout: .*finite number, got nan"),
        ("training.gradient_clip=.inf", "training.gradient_clip: .*finite number, got inf"),
        ("training.weight_decay=.inf", "training.weight_decay: .*finite number, got inf"),
        ("training.concentration=.inf", "training.concentration: .*finite number, got inf"),
        ("training.learning_rate=1e300", "learning_rate, times its factors, .*at most 1e.38"),
        ("training.augment=1", "training.augment: wanted true or false, got 1"),
        ("training.workers=100000", "training.workers: .*less than or equal to 256"),
        ("model.layers=1000000", "model.layers: .*less than or equal to 1000"),
        ("model.heads=3", "model.dim must be even and divisible by model.heads = 3, got 64"),
        ("model.dim=5", "model.dim must be even and divisible by model.heads = 4, got 5"),
        ("model.text.heads=3", "model.text.hidden must be divisible by model.text.heads = 3"),
        ("model.text.max_length=1", "model.text.max_length: .*greater than or equal to 2"),
        ("model.text.vocabulary=4", "model.text.vocabulary: .*greater than or equal to 5"),
        ("corpus=''", "corpus: wanted the name of a file or folder, got ''"),
        ('corpus="a\\0b"', "corpus: wanted the name of a file or folder, got"),
        ("evaluation.threshold=0.4", "'tuned', 'tuned_wacc' or '0.5', got"),
        ("evaluation.f1=macro", "'binary' or 'weighted', got 'macro'"),
    ],
)
def test_refuses_with_the_key(override, message):
    with pytest.raises(ValueError, match=message):
        load_config("iemocap_mesm", [override])


def test_heads_of_the_baselines():
    with pytest.raises(ValueError, match=r"model\.dim must be divisible by model\.heads = 3, got"):
        load_config("iemocap_mult", ["model.heads=3"])


@pytest.mark.parametrize("override", ["model.text.path=", "training.epochs= ", "corpus="])
def test_an_override_without_a_value_is_refused(override):
    key = override.partition("=")[0]
    with pytest.raises(ValueError, match=rf"has no value; for none write {key}=null"):
        load_config("iemocap_mesm", [override])


def test_p_that_is_held_to_the_end_is_refused():
    changes = ["training.epochs=3", "training.p_hold_epochs=3"]
    with pytest.raises(ValueError, match=r"p_hold_epochs must be less than training\.epochs = 3"):
        load_config("iemocap_mesm", changes)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("2.5", "wanted a whole number of epochs, or a share below 1, got 2.5"),
        ("-1", "should be greater than or equal to 0"),
        ("long", "wanted a number, got 'long'"),
    ],
)
def test_epochs_of_p_are_whole_numbers_or_shares(value, message):
    with pytest.raises(ValueError, match=rf"training\.p_hold_epochs: .*{message}"):
        load_config("iemocap_mesm", [f"training.p_hold_epochs={value}"])
    kept = load_config("iemocap_mesm", ["training.p_hold_epochs=3.0"]).training.p_hold_epochs
    assert (kept, type(kept)) == (3, int)


def test_of_two_overrides_the_last_counts():
    assert load_config("iemocap_mesm", ["training.seed=1", "training.seed=2"]).training.seed == 2


def test_refuses_files_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="is no config file; shipped are crema_d_emo_embs"):
        load_config(tmp_path / "none.yaml")
    file = tmp_path / "list.yaml"
    file.write_text("- 1\n- 2\n")
    with pytest.raises(ValueError, match="wanted keys and values, got list"):
        load_config(file)
    file.write_text("a: [")
    with pytest.raises(ValueError, match="not YAML"):
        load_config(file)
    file.write_text("model: {name: fe2e}")
    with pytest.raises(ValueError, match="corpus is missing"):
        load_config(file)


def test_dump_loads_again(tmp_path):
    config = load_config("miniature_mesm", ["training.seed=7", "training.p_start=0.2"])
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config))
    assert load_config(file) == config
    assert differing_keys(load_config(file), config) == []
    other = load_config(
        "miniature_mesm", ["training.seed=8", "training.p_start=0.2", "model.p=0.3"]
    )
    assert set(differing_keys(config, other)) == {
        "training.seed (7, now 8)",
        "model.p (0.5, now 0.3)",
    }
    file.write_text(
        dump_config(load_config("miniature_mesm", ["model.p={face: [1, 1, 0.5], audio: 0.2}"]))
    )
    assert load_config(file).model.p == {"face": [1.0, 1.0, 0.5], "audio": 0.2}
