"""Servers on loopback that answer as Mapillary, NVDB and Overpass do, from a recorded area, with quirks and ordered
faults."""
