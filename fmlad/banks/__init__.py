"""What is remembered of the shots. Functions and small classes on tensors; no models, no I/O."""
