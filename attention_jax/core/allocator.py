"""Memory that stays in the process, so that no step waits for the kernel to give it again.

XLA's client for CPUs asks for the temporaries of each call and gives them back, and the allocator
of glibc hands freed memory on to the kernel: then every page of it faults at its next use.
"""

import ctypes
import platform

# Parameters of `mallopt` in glibc's malloc.h, and their values.
_SETTINGS = (
    (-1, -1),  # M_TRIM_THRESHOLD: the top of the heap is not given back, however large
    (-2, 2**26),  # M_TOP_PAD: the heap grows by 64 MiB at a time
    (-4, 0),  # M_MMAP_MAX: no block is a mapping of its own, which would end with it
    (-8, 1),  # M_ARENA_MAX: what one thread frees, another takes
)


def keep_memory() -> bool:
    """Keeps what is freed for the next allocation; steps on CPUs that take megabytes get faster.

    Call it before the first array is made. It costs memory: the process stays as large as it ever
    was. Steps of a few milliseconds, whose arrays stay in any case, take up to a fourth longer,
    since all threads take turns at one heap (docs/results/speed.md#memory-that-stays). The programs
    of `experiments` call it; the library by itself never does. Elsewhere than on Linux with glibc
    it does nothing.

    Returns:
      True where it took effect.

    Reference: mallopt(3), https://man7.org/linux/man-pages/man3/mallopt.3.html.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return all([libc.mallopt(name, value) for name, value in _SETTINGS])
