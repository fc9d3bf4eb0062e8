"""How many threads a process computes with; sums in another order end in other digits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Threads:
    """Numbers of threads.

    Attributes:
        torch: Of PyTorch.
        blas: Of NumPy's and SciPy's linear algebra.
    """

    torch: int
    blas: int

    @classmethod
    def current(cls) -> Threads:
        """What this process computes with."""
        import numpy  # noqa: F401 (its library must be there to be asked)
        import torch
        from threadpoolctl import threadpool_info

        count = torch.get_num_threads()
        pools = [
            int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"
        ]
        return cls(count, max(pools, default=count))

    def apply(self) -> None:
        """Makes this process compute with them from now on."""
        import numpy  # noqa: F401 (its library must be there to be told)
        import torch
        from threadpoolctl import threadpool_limits

        torch.set_num_threads(self.torch)
        threadpool_limits(limits=self.blas, user_api="blas")
