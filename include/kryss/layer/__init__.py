"""The release: GeoJSON per intersection, changes, manifest, schema, page, and publishing them as one immutable dated folder."""
