"""Where the files lie that belong to the project but not to the package: the metric and the Spaces."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).parent


def bundled(name: str) -> Path:
    """Path of `metric/...` or `spaces/...`, in the source tree or, once installed, inside the package."""
    for root in (PACKAGE.parent, PACKAGE / "_bundled"):
        if (root / name).exists():
            return root / name
    raise FileNotFoundError(f"{name} is missing from this installation of glioma_hf")


def load_script(name: str) -> ModuleType:
    """A script beside the package, as a module."""
    path = bundled(name)
    specification = importlib.util.spec_from_file_location(f"glioma_hf_{path.parent.name}_{path.stem}", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module
