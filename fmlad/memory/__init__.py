"""From features to distances: patch banks and registration. No models, no I/O."""
