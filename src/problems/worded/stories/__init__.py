"""Word problems of several sentences."""
