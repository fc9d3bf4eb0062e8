"""What methods that learn share: one loop, checkpoints, augmentations, losses.

A method builds its networks under :func:`~fmlad.training.loop.seeded`, writes its loss of one step
and hands both to :func:`~fmlad.training.loop.train`.
"""
