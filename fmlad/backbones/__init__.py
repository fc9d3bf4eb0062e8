"""Pretrained networks and their embedded stand-ins, each behind a role (see ``roles.py``)."""
