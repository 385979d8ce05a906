import pytest

from mesm.config.files import load_config


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("mult", "model.layer=3", r"no key model\.layer; did you mean model\.layers"),
        ("mult", "model.modalities=t", "mult needs at least two modalities"),
        ("mult", "model.kernels=[1,2,1]", "model.kernels: kernels must be odd"),
        (
            "mult",
            "training.branch_loss=1",
            "iemocap_mult: training.branch_loss .*mult has none",
        ),
        ("lf_lstm", "model.text.path=x", r"no key model\.text"),
        ("lf_lstm", "training.augment=true", r"training\.augment changes .*lf_lstm reads features"),
        ("emo_embs", "training.concentration=1", "emo_embs has no sparse attention"),
        ("lf_transformer", "training.p_warmup_epochs=1", "lf_transformer has no sparse attention"),
        ("emo_embs", "training.plateau_factor=1", "training.plateau_factor: .* less than 1"),
    ],
)
def test_baselines_refuse_what_they_do_not_have(name, override, message):
    with pytest.raises(ValueError, match=message):
        load_config(f"iemocap_{name}", [override])


@pytest.mark.parametrize("loss", [None, "binary", "cross_entropy"])
def test_a_loss_is_a_known_one_or_left_to_the_corpus(loss):
    asked = [] if loss is None else [f"training.loss={loss}"]
    assert load_config("iemocap_mesm", asked).training.loss == loss
    with pytest.raises(
        ValueError, match=r"training\.loss: .*'binary' or 'cross_entropy', got 'mse'"
    ):
        load_config("mosei_lf_lstm", ["training.loss=mse"])
