"""Measurements behind the numbers in README and docs; each file is one command."""
