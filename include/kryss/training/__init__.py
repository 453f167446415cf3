"""Training of the sign detector: composes crops, trains, evaluates and exports what `vision` runs.

See `python -m kryss.training --help`.
"""
