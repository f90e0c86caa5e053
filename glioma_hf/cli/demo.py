"""The command that serves the page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from glioma_hf.cli.console import quiet_libraries


def demo(
    port: Annotated[int | None, typer.Option(help="Port on localhost; a free one if left out.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder made by data prepare, for the tab Explore.")] = None,
) -> None:
    """The Gradio page on localhost."""
    from glioma_hf.resources import load_script

    quiet_libraries()
    if data is not None:
        from glioma_hf.data.prepared import read_prepared

        read_prepared(data)
        os.environ["GLIOMA_HF_DATA"] = str(data.resolve())
    load_script("spaces/demo/app.py").launch(server_name="127.0.0.1", server_port=port)
