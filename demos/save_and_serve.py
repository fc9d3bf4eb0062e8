"""Fit once, save, and judge images as they arrive in a folder.

python demos/save_and_serve.py FOLDER_OF_NORMAL_IMAGES INBOX [--once]

Both are existing folders.

The detector is fitted at the first start and loaded at every later one. Each new image in INBOX is
judged once and its verdict appended to INBOX/verdicts.jsonl; a broken file gets its error there.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import fmlad
from fmlad.io.inputs import list_images

PAUSE = 1.0  # seconds between two readings of the inbox


def main() -> None:
    if len(sys.argv) < 3 or not all(Path(folder).is_dir() for folder in sys.argv[1:3]):
        sys.exit(__doc__)
    shots, inbox = Path(sys.argv[1]), Path(sys.argv[2])
    saved = inbox / "detector"
    if saved.exists():
        detector = fmlad.Detector.load(saved)
    else:
        detector = fmlad.Detector.from_shots(shots, profile="builtin")
        detector.save(saved)
    while True:
        serve(detector, inbox)
        if "--once" in sys.argv:
            return
        time.sleep(PAUSE)


def serve(detector: fmlad.Detector, inbox: Path) -> None:
    """Judges what has no verdict yet; the verdicts file is the only memory: a kill is harmless."""
    verdicts = inbox / "verdicts.jsonl"
    known = set()
    if verdicts.exists():
        known = {json.loads(line)["name"] for line in verdicts.read_text().splitlines()}
    try:
        images = list_images(inbox)
    except fmlad.errors.ShotsError:
        return  # nothing has arrived yet
    new = [path for path in images if str(path) not in known]
    with verdicts.open("a") as file:
        for outcome in detector.predict_many(new):
            file.write(json.dumps(outcome.to_dict()) + "\n")
            file.flush()
            print(outcome.explain() if isinstance(outcome, fmlad.Prediction) else outcome.error)


if __name__ == "__main__":
    main()
