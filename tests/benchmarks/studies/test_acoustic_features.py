"""The stages that are timed are those of the features."""

import numpy as np

from benchmarks.studies.acoustic_features import cpu_seconds, make_clip, stages
from mesm.features.onsets import onset_features
from mesm.features.phonet import phonet_features
from mesm.features.phonet_network import load_network


def test_all_is_what_mesm_features_computes():
    clip = make_clip(1.0)
    timed = stages(clip)
    both = np.concatenate([onset_features(clip), phonet_features(clip, load_network())], 1)
    np.testing.assert_array_equal(timed["all"](), both)
    assert np.isfinite(both).all(1).any()
    assert len(timed["ratios and statistics"]()) == len(both) == 3
    assert all(cpu_seconds(timed[name]) >= 0 for name in ("normalisation", "Bark energies"))
