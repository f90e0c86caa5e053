"""`python -m tests.audit`: pip-audit on what is installed here; where its list isn't reached, that is said."""

from __future__ import annotations

import json
import subprocess
import sys

NOT_RUN = "== NOT RUN: the list of known weaknesses isn't reached from this machine"


def main() -> None:
    """Print what is known; ends with 1 where that is anything."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--skip-editable", "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        audited = [package for package in json.loads(done.stdout)["dependencies"] if "vulns" in package]
    except (subprocess.TimeoutExpired, ValueError, KeyError):  # without an answer it writes no JSON
        audited = []
    if not audited:
        print(NOT_RUN)
        return
    found = [package for package in audited if package["vulns"]]
    print(f"{len(audited)} packages looked up, {len(found)} with known weaknesses")
    for package in found:
        names = ", ".join(weakness["id"] for weakness in package["vulns"])
        print(f"{package['name']} {package['version']}: {names}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
