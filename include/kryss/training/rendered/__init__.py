"""Rendered streets with true depth: see ``streets``."""

from kryss.training.rendered.streets import Rendering, Streets

__all__ = ["Rendering", "Streets"]
