"""Experiments: methods x profiles x datasets x shots x seeds, and what came of them."""
