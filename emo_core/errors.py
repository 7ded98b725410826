"""The errors that a user can do something about, as opposed to mistakes of ours."""

_CPU_IS_FULL = "DefaultCPUAllocator: can't allocate memory"
"""In what torch's allocator for the CPU raises (c10/core/impl/alloc_cpu.cpp, torch 2.11)."""


class InputError(ValueError):
    """Something the user handed in cannot be used.

    The message says, in this order: what it was, what was found, what was expected, what to do.
    The command line prints it without a traceback and ends with status 2.
    """


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, or torch for a tensor on a GPU or on the CPU, found no room."""
    import torch  # Whoever does not use it has no such error, and --help does without.

    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or (
        isinstance(error, RuntimeError) and _CPU_IS_FULL in str(error)
    )
