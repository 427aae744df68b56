import subprocess
import sys

import pytest

# Frees a block of 24 MiB, after which glibc calls one of 8 MiB small; prints how many bytes more
# are in blocks of their own with such a one.
PROGRAM = """
import ctypes, sys

if sys.argv[1:]:
    from laion_assets.stores.freed_memory import return_large_blocks
    return_large_blocks()

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena a b c in_blocks d e f g h".split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.free(libc.malloc(24 << 20))
before = libc.mallinfo2().in_blocks
libc.malloc(8 << 20)
print(libc.mallinfo2().in_blocks - before)
"""


def count_in_blocks(*arguments: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], check=True, capture_output=True, text=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc")
def test_a_large_block_stays_one_of_its_own() -> None:
    assert count_in_blocks() == 0
    assert count_in_blocks("set") >= 8 << 20
