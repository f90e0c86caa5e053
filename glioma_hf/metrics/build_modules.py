"""The `evaluate` modules as they are pushed to the Hub: folders that need nothing of this package.

    python -m glioma_hf.metrics.build_modules OUT

writes `OUT/overlap_ap` and `OUT/pixel_dice`: script, card, widget, requirements, and beside the script the
files of this package that it stands on, with their imports made relative. `evaluate` fetches what the
script imports with a leading dot, and of that only what the script itself names: hence its list of imports.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from glioma_hf.files import new_folder
from glioma_hf.resources import PACKAGE, bundled

MODULES = ("overlap_ap", "pixel_dice")
# A sibling may not bear the script's own name.
RENAMED = {"overlap_ap": "pooled_scores", "pixel_dice": "dice"}
_IMPORT = re.compile(r"^from glioma_hf(?:\.\w+)*\.(\w+) import ", re.MULTILINE)
_EXAMPLE = re.compile(r'evaluate\.load\("metric/(\w+)\.py"\)')


def build_module(name: str, out: str | Path) -> list[str]:
    """Write the module `name` as a folder of its own; returns the names of the files written."""
    with new_folder(out, "evaluate module") as folder:
        script = bundled(f"metric/{name}.py").read_text(encoding="utf-8")
        needed = _closure(script)
        for source in needed:
            target = folder / f"{RENAMED.get(source.stem, source.stem)}.py"
            target.write_text(_relative(source.read_text(encoding="utf-8")), encoding="utf-8")
        named = {match[1] for match in _IMPORT.finditer(script)}
        others = sorted(RENAMED.get(s.stem, s.stem) for s in needed if s.stem not in named)
        lines = "".join(f"from .{other} import __doc__ as _\n" for other in others)
        marker = "\n_DESCRIPTION = "
        script = _EXAMPLE.sub(r'evaluate.load("\1.py")', _relative(script))
        script = script.replace(marker, f"\n# Fetched because it is named here:\n{lines}{marker}", 1)
        (folder / f"{name}.py").write_text(script, encoding="utf-8")
        for file in ("app.py", "requirements.txt"):
            shutil.copyfile(bundled(f"metric/{file}"), folder / file)
        shutil.copyfile(bundled(f"metric/{name}.md"), folder / "README.md")
        return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def _closure(text: str, seen: dict[str, Path] | None = None) -> list[Path]:
    """Files of this package that a text imports, directly or through others."""
    seen = {} if seen is None else seen
    for match in re.finditer(r"^from (glioma_hf(?:\.\w+)*) import ", text, re.MULTILINE):
        path = PACKAGE.parent / (match[1].replace(".", "/") + ".py")
        if path.stem not in seen:
            seen[path.stem] = path
            _closure(path.read_text(encoding="utf-8"), seen)
    return list(seen.values())


def _relative(text: str) -> str:
    return _IMPORT.sub(lambda match: f"from .{RENAMED.get(match[1], match[1])} import ", text)


def main(out: str) -> None:
    """Write both modules below `out`."""
    for name in MODULES:
        print(f"{out}/{name}: {', '.join(build_module(name, Path(out) / name))}")


if __name__ == "__main__":
    main(sys.argv[1])
