"""Vision: registry of weights, detection of signs and lights, monocular depth. Importing the room imports no torch."""
