"""Write the CycloneDX bill of materials of what ships: the packages locked to run the gateway, as installed here.

The environment of a developer holds more, and the dependency graph alone reaches into it through extras that
nobody asked for; so a component stays only when the lock names it. The result is validated against the
CycloneDX schema before it is written.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement

from gateway import __version__

_PIN = re.compile(r"^([A-Za-z0-9][^\n\\]*==[^\n\\]*)", re.MULTILINE)


def locked(requirements: str) -> frozenset[str]:
    """Names that the text of a requirements file pins for this interpreter (PEP 508 markers), normalised (PEP 503)."""
    pins = [Requirement(pin) for pin in _PIN.findall(requirements)]
    return frozenset(_normal(pin.name) for pin in pins if pin.marker is None or pin.marker.evaluate())


def shipped(bom: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Reduce `bom` to its main component and the components called `names`; raises ValueError when one is missing."""
    components = [component for component in bom["components"] if _normal(component["name"]) in names]
    missing = names - {_normal(component["name"]) for component in components}
    if missing:
        raise ValueError(f"locked but not installed: {', '.join(sorted(missing))}")
    main = bom["metadata"]["component"] | {"version": __version__}
    kept = {component["bom-ref"] for component in components} | {main["bom-ref"]}
    dependencies = [
        {"ref": entry["ref"], "dependsOn": [ref for ref in entry.get("dependsOn", ()) if ref in kept]}
        for entry in bom["dependencies"]
        if entry["ref"] in kept
    ]
    return bom | {
        "metadata": bom["metadata"] | {"component": main},
        "components": components,
        "dependencies": dependencies,
    }


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(arguments: list[str]) -> int:
    """Write the bill of materials of the lock file named first to the file named second."""
    lock, target = map(Path, arguments)
    names = locked(lock.read_text(encoding="utf-8"))
    command = [
        sys.executable,
        "-m",
        "cyclonedx_py",
        "environment",
        "--pyproject",
        "pyproject.toml",
        "--output-reproducible",
    ]
    command += ["--no-validate", "--spec-version", SchemaVersion.V1_6.to_version(), sys.prefix]
    listed = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603 - our own arguments
    bom = shipped(json.loads(listed.stdout), names)
    text = json.dumps(bom, indent=2, sort_keys=True)
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem is not None:
        sys.stderr.write(f"sbom: not valid CycloneDX 1.6: {problem}\n")
        return 1
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(f"sbom: {len(bom['components'])} components in {target}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
