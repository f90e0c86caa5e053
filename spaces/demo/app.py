"""The demo page: segment an image, teach the model on one, score predictions, explore a data set."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the tabs beside this file, however it is started

import offices


def launch(**options) -> None:
    """Serve the page (`page.serve`)."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that what is to be deleted at exit is
    os.environ["GRADIO_TEMP_DIR"] = str(offices.place().uploads)
    offices.start(offices.modellers)  # the libraries of models take longest
    import page

    offices.start(offices.readers)
    page.serve(**options)


if __name__ == "__main__":
    launch()
