"""Training: labelled photos in, composed scenes, networks that learn and are judged, models of the registry out.

See ``./kryss train --help``.
"""
