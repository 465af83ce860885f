"""What the workers share, on a disk without room."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USE = """
import sys
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from understudy.core.playbook import Arm
from understudy.core.routing import GatewayKey
from understudy.gateway.meter import Meters
from understudy.gateway.pins import Pins
folder = Path(sys.argv[1])
pins, meters = Pins(folder / "pins"), Meters(folder / "meters")
if len(sys.argv) > 2:
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
        while filler.write(b"f" * 4096):
            pass
keys = [GatewayKey(f"k{n}", sha256(b"%d" % n).hexdigest(), requests_per_minute=1) for n in range(3000)]
for number, meter in enumerate(meters.of(keys).values()):
    assert meter.take(1.0) == 0 and meter.take(1.0) > 0
    pins.put("u", f"c{number}", Arm.CANDIDATE, 1.0)
assert pins.get("u", "c0", 1.0) is Arm.CANDIDATE
"""


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own of a given size; needs the right to mount."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small disk here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def use(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", USE, *arguments], capture_output=True, text=True, check=False)


def test_a_disk_that_is_full_from_the_beginning_costs_the_sharing_and_no_worker(tmp_path: Path) -> None:
    """Pins and meters work on in memory, and the file that could not be had is named."""
    with small_disk(tmp_path / "disk", "64k") as disk:
        done = use(str(disk))
        assert done.returncode == 0, (done.returncode, done.stderr)
        assert "pins cannot be shared (No space left on device)" in done.stderr


def test_a_disk_that_fills_up_later_takes_nothing_back(tmp_path: Path) -> None:
    """The space was taken when the files were opened: writing them needs no more of it."""
    with small_disk(tmp_path / "disk", "6m") as disk:
        done = use(str(disk), "filled")
        assert done.returncode == 0, (done.returncode, done.stderr)
        assert done.stderr == ""
