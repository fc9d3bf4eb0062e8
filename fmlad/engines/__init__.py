"""Work done by others: processes of this machine, or of many, on Ray.

:func:`predict_ray` judges images, ``cluster`` finds or starts the workers. Ray is imported only
when one of them is called. Between its own processes Ray sends objects with cloudpickle; nothing
that somebody stored is ever unpickled.
"""

from __future__ import annotations

from fmlad.engines.predict import predict_ray

__all__ = ["predict_ray"]
