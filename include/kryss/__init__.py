"""Kryss: a dated map layer of road intersections, with the signs and lights that stand at each."""

__version__ = "0.1.0"
