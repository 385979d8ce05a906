"""Whole grids of trainings: systems x seeds x p x any setting, resumable and in parallel."""

from mesm.experiment.run import run_experiment

__all__ = ["run_experiment"]
