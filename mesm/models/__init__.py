"""The models: `model(batch)` gives logits (B, E).

FE2E and MESM read a `mesm.Batch`, the two-phase baselines a `mesm.data.feature_batch.FeatureBatch`.
"""

from __future__ import annotations

from mesm.models.emo_embs import EmoEmbs
from mesm.models.fe2e import FE2E
from mesm.models.lf_lstm import LFLSTM
from mesm.models.lf_transformer import LFTransformer
from mesm.models.mesm import MESM
from mesm.models.mult import MulT

__all__ = ["FE2E", "LFLSTM", "MESM", "EmoEmbs", "LFTransformer", "MulT"]
