"""Bringing two images, or their parts, into correspondence. Pure functions, no models, no I/O."""
