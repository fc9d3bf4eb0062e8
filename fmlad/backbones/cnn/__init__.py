"""Convolutional networks, and others with stages, as features and as trainable encoders."""
