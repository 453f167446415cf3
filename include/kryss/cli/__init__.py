"""The command line behind ``./kryss``."""
