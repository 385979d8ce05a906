"""The models: `model(batch)` gives logits (B, E)."""

from __future__ import annotations

from mesm.models.fe2e import FE2E
from mesm.models.mesm import MESM

__all__ = ["FE2E", "MESM"]
