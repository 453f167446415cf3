"""Roads: boundaries of municipalities, and their junctions with speed limits, from NVDB, OpenStreetMap or a file."""
