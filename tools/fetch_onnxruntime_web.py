"""Fetches the runtime of exported web pages anew: onnxruntime-web, from npm.

    python tools/fetch_onnxruntime_web.py            the version in use, compared with its hashes
    python tools/fetch_onnxruntime_web.py 1.31.0     another version, whose hashes are written

npm, which must be installed, compares the archive with the registry's own hash. Of its files two
are kept: the plain WebAssembly build, compressed by gzip, and the script that runs it. After
another version, change it in NOTICE, too, and run the tests of `exports` in a browser.
"""

import argparse
import gzip
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

RUNTIME = Path(__file__).parents[1] / "src" / "unetkit" / "exports" / "web" / "onnxruntime"
SOURCE = RUNTIME / "source.json"  # package, version, SHA-256 of its files
LICENCE = "MIT"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("version", nargs="?", help="version (default: the one in source.json)")
    wanted = parser.parse_args().version
    source = json.loads(SOURCE.read_text(encoding="utf-8"))
    is_same = wanted in (None, source["version"])
    files = fetch(source["package"], wanted or source["version"], list(source["files"]))
    found = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    if is_same and found != source["files"]:
        print(f"the files of npm differ from {SOURCE}: {found}", file=sys.stderr)
        return 1
    for name, content in files.items():
        if name.endswith(".wasm"):
            (RUNTIME / f"{name}.gz").write_bytes(gzip.compress(content, 9, mtime=0))
        else:
            (RUNTIME / name).write_bytes(content)
        print(f"{found[name]}  {len(content):>10,} bytes  {name}")
    if not is_same:
        source |= {"version": wanted, "files": found}
        SOURCE.write_text(json.dumps(source, indent=2) + "\n", encoding="utf-8")
    return 0


def fetch(package: str, version: str, names: list[str]) -> dict[str, bytes]:
    """Returns files of the folder dist of a version of a package."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", f"{package}@{version}", "--silent", "--pack-destination", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as packed:
            described = json.loads(read(packed, "package/package.json"))
            if described["license"] != LICENCE:
                raise SystemExit(f"{package} {version} is licensed under {described['license']}")
            return {name: read(packed, f"package/dist/{name}") for name in names}


def read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise SystemExit(f"{name} is not a file in the archive")
    with file:
        return file.read()


if __name__ == "__main__":
    sys.exit(main())
