"""Freed memory that stays: pages fault once, and not again at each use."""

import platform
import subprocess
import sys

import pytest

from attention_jax.core.allocator import keep_memory

_FAULTS = """
import resource
import sys
import numpy as np
from attention_jax.core.allocator import keep_memory

kept = keep_memory() if sys.argv[1] == "keep" else False

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for size in (1, 5, 9, 40):
        np.ones(size * 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(kept, min(faults() for _ in range(3)))
"""


def faults(asked):
    command = [sys.executable, "-P", "-c", _FAULTS, asked]
    kept, count = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return kept == "True", int(count)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has mallopt")
def test_freed_pages_do_not_fault_again():
    kept, few = faults("keep")
    assert kept
    left, many = faults("leave")
    assert not left
    # 110 MiB in pages of 4 KiB, or of 2 MiB where the kernel joins them.
    assert few < 10 < many


@pytest.mark.parametrize(("system", "libc"), [("Darwin", ""), ("Windows", ""), ("Linux", "musl")])
def test_elsewhere_nothing_is_done(system, libc, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "libc_ver", lambda: (libc, ""))
    monkeypatch.setattr("ctypes.CDLL", None)
    assert keep_memory() is False


_TOP = """
import ctypes
import numpy as np
from attention_jax.core.allocator import keep_memory

keep_memory()
end = ctypes.CDLL(None).sbrk
end.restype, end.argtypes = ctypes.c_void_p, [ctypes.c_long]
array = np.empty(3 * 2**30, np.uint8)
before = end(0)
del array
print(before == end(0))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has mallopt")
def test_gigabytes_that_are_freed_at_once_are_kept():
    command = [sys.executable, "-P", "-c", _TOP]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "True\n"
