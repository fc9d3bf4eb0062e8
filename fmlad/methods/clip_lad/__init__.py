"""The method ``clip-lad``; see ``method.py``."""
