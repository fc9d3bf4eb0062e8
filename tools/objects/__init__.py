"""Trains the embedded mask proposer on procedural pictures; see ``train.py``."""
