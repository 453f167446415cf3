"""The release: what the database believes as one immutable, dated folder of GeoJSON, changes, manifest, schema and page."""
