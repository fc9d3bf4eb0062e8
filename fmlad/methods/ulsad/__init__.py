"""The method ``ulsad``; see ``method.py``."""
