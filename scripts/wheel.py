"""Makes the wheel of scripts/package.sh:  wheel.py TREE OUT VERSION PLATFORM

TREE holds bin/, lib/ and share/. pip copies a wheel's scripts to bin/ and its data to the folder above, in an environment as with
--user, so the program finds ../lib/tundra and ../share/tundra wherever it is installed.
"""
import base64
import hashlib
import os
import sys
import time
import zipfile

tree, out, version, platform = sys.argv[1:]
name, tag = f"tundra_cameratrap-{version}", f"py3-none-{platform}"


def content(path):
    with open(path, "rb") as file:
        return file.read()


files = {
    f"{name}.dist-info/METADATA": f"""\
Metadata-Version: 2.4
Name: tundra-cameratrap
Version: {version}
Summary: Camera-trap images: find animals, name them, train on your own
License-Expression: MIT
License-File: LICENSE

The program `tundra`, without any Python. `tundra doctor` tells what this machine can do.
The licences of the libraries inside are in share/doc/tundra/licenses.
""".encode(),
    f"{name}.dist-info/WHEEL": f"Wheel-Version: 1.0\nGenerator: tundra\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
    f"{name}.dist-info/licenses/LICENSE": content(f"{tree}/LICENSE"),
    f"{name}.data/scripts/tundra": content(f"{tree}/bin/tundra"),
}
for part in ("lib", "share"):
    for folder, _, names in os.walk(f"{tree}/{part}"):
        for each in names:
            path = os.path.join(folder, each)
            files[f"{name}.data/data/{os.path.relpath(path, tree)}"] = content(path)

record = f"{name}.dist-info/RECORD"
lines = []
for path, data in sorted(files.items()):
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    lines.append(f"{path},sha256={digest},{len(data)}\n")
files[record] = ("".join(lines) + f"{record},,\n").encode()

when = time.gmtime(max(int(os.environ["SOURCE_DATE_EPOCH"]), 315532800))[:6]  # zip knows no time before 1980
with zipfile.ZipFile(f"{out}/{name}-{tag}.whl", "w") as wheel:
    for path, data in sorted(files.items(), key=lambda file: (".dist-info/" in file[0], file[0])):
        entry = zipfile.ZipInfo(path, when)
        entry.external_attr = (0o100755 if "/scripts/" in path or ".so" in path else 0o100644) << 16
        wheel.writestr(entry, data, zipfile.ZIP_DEFLATED)
