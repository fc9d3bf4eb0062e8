"""Backbones that need no download: the profile ``builtin``."""
