"""Backbones without weights: the profile ``builtin``."""
