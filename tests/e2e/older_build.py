"""A build of an earlier commit, which a cluster can be upgraded from.

It is kept as an archive, because a source archive or a shallow clone of the repository has no earlier commits.
`python -m tests.e2e.older_build` makes the archive, always the same to the byte, in a clone that has the commit.
"""

import io
import subprocess
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.e2e.processes import REPOSITORY, TWISTD

COMMIT: Final = "1af4161"
"""The last one before feature level 2."""
FEATURE_LEVEL: Final = 1
"""What it speaks."""
ARCHIVE: Final = Path(__file__).parent / "data" / f"kvraft-{COMMIT}.zip"
PARTS: Final = ("kvraft", "twisted/plugins")
LEFT_OUT: Final = ("kvraft/chaos/", "kvraft/cli/", "kvraft/simulation/")
"""What a node does not import."""
EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The time of every file: the first that an archive can hold."""


def unpack(folder: Path) -> Sequence[str]:
    """Unpack the build into `folder`; return what plays twistd and finds it ahead of everything that is installed."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    return "env", f"PYTHONPATH={folder}", str(TWISTD)


def make() -> None:
    """Write the archive anew from the commit."""
    command = ["git", "archive", "--format=tar", COMMIT, *PARTS]
    tar = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True).stdout
    ARCHIVE.parent.mkdir(exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(tar)) as files, zipfile.ZipFile(ARCHIVE, "w") as archive:
        for member in sorted(files.getmembers(), key=lambda each: each.name):
            content = files.extractfile(member)
            if content is not None and not member.name.startswith(LEFT_OUT):
                info = zipfile.ZipInfo(member.name, EPOCH)
                archive.writestr(info, content.read(), zipfile.ZIP_DEFLATED, compresslevel=9)


if __name__ == "__main__":
    make()
