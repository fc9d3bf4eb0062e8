"""Other people's methods in our benchmark, by name: their code, our pictures, one run.

``vand.py`` is the way back: fmlad behind the model interface of the VAND few-shot challenge.
"""

from __future__ import annotations

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, cast

from fmlad.errors import UnknownNameError

if TYPE_CHECKING:
    from fmlad.bench.peers.base import Peer

# name -> "module:peer class"; the class knows its options
_PEERS = {
    "anomalib:patchcore": "fmlad.bench.peers.patchcore:PatchCore",
    "anomalib:anomaly-dino": "fmlad.bench.peers.anomaly_dino:AnomalyDino",
    "anomalib:winclip": "fmlad.bench.peers.winclip:WinClip",
    "anomalib:efficient-ad": "fmlad.bench.peers.efficient_ad:EfficientAd",
}


def list_peers() -> list[str]:
    """Names of all peers, whether or not their package is installed."""
    return sorted(_PEERS)


def make_peer(name: str, options: Mapping[str, Any] | None = None, device: str = "auto") -> Peer:
    """A peer, ready to be fitted; its options, JSON-ready, are those of docs/peers.md.

    Raises:
        UnknownNameError: There is no such peer, or it has no such option.
        OptionError: An option has a value of the wrong kind or out of range.
        MissingDependencyError: anomalib is not installed.
        WeightsUnavailableError: Its weights are neither here nor to be had; there are never random
            ones instead, but by ``weights="random"``.
    """
    if name not in _PEERS:
        raise UnknownNameError.of("peer", name, _PEERS)
    return cast("Peer", resolve_name(_PEERS[name])(name, options or {}, device))
