"""The systems there are, one row each: a new system is a model's file, its settings and a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from mesm.config.baselines import (
    EmoEmbsSettings,
    LFLSTMSettings,
    LFTransformerSettings,
    MulTSettings,
)
from mesm.config.end_to_end import FE2ESettings, MESMSettings
from mesm.config.experiment import ExperimentConfig
from mesm.config.settings import SystemSettings
from mesm.corpora.prepared import PreparedCorpus
from mesm.data.feed import EndToEndFeed, Feed, TwoPhaseFeed
from mesm.models import FE2E, LFLSTM, MESM, EmoEmbs, LFTransformer, MulT
from mesm.runs.folder import RunFolder


@dataclass(frozen=True)
class System:
    """The particulars of a system.

    Attributes:
        name: in configs and runs.
        model: made of plain keyword arguments; `model(batch)` gives logits (B, E).
        settings: the model section of its configs.
        feed: what reads a corpus for it, made of settings, corpus and run folder.
    """

    name: str
    model: type[nn.Module]
    settings: type[SystemSettings]
    feed: Callable[[Any, PreparedCorpus, RunFolder], Feed]

    @property
    def title(self) -> str:
        """Its name in tables."""
        return self.settings.title


# In the order of the paper's tables.
SYSTEMS = {
    system.name: system
    for system in (
        System("lf_lstm", LFLSTM, LFLSTMSettings, TwoPhaseFeed),
        System("lf_transformer", LFTransformer, LFTransformerSettings, TwoPhaseFeed),
        System("emo_embs", EmoEmbs, EmoEmbsSettings, TwoPhaseFeed),
        System("mult", MulT, MulTSettings, TwoPhaseFeed),
        System("fe2e", FE2E, FE2ESettings, EndToEndFeed),
        System("mesm", MESM, MESMSettings, EndToEndFeed),
    )
}


def open_feed(config: ExperimentConfig, corpus: PreparedCorpus, folder: RunFolder) -> Feed:
    """How the system of a config reads a corpus.

    Raises:
        ValueError: the corpus lacks what the system reads.
    """
    return SYSTEMS[config.model.name].feed(config.model, corpus, folder)
