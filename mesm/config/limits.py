"""The largest sizes that settings may have; models read these limits without pydantic."""

MOST = 2**31 - 1  # the largest size that torch counts with
MOST_LAYERS = 1000
