"""Methods: published systems, or our own, that turn images into evidence."""
