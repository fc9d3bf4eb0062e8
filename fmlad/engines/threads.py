"""How many threads a process computes with; sums in another order end in other digits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Threads:
    """Numbers of threads: of PyTorch, and of NumPy's and SciPy's linear algebra."""

    torch: int
    blas: int

    @classmethod
    def current(cls) -> Threads:
        """What this process computes with."""
        import numpy  # noqa: F401 (its library must be there to be asked)
        import torch
        from threadpoolctl import threadpool_info

        count = torch.get_num_threads()
        blas = (p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas")
        return cls(count, max(map(int, blas), default=count))

    def apply(self) -> None:
        """Makes this process compute with them from now on."""
        import numpy  # noqa: F401 (its library must be there to be told)
        import torch
        from threadpoolctl import threadpool_limits

        torch.set_num_threads(self.torch)
        threadpool_limits(limits=self.blas, user_api="blas")
