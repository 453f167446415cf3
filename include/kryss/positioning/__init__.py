"""Where things stand: cameras, trusted poses, bearings and ranges, sightings, and the objects they are fused into."""
