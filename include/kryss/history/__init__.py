"""What is believed of each object over time: identity, first and last seen, and an end by negative evidence only."""

from kryss.history.believe import believe

__all__ = ["believe"]
