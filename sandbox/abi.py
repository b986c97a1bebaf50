"""The version of what a guest can see of its sandbox: a part of every derived object's key.

A result that is kept is given to later readers instead of running the program again. That is right only as long as
running it would give the same bytes, and those depend on more than program, arguments and inputs: on what the sandbox
answers. Raise the number, by one, with every change after which a frozen launch could write other bytes or come to
another end than before:

* a WASI function gives another result, error number, order or amount (what a read fills, how a directory is listed)
* frozen time, frozen randomness or canonical NaNs give other values
* the guest's tree has other files, or its arguments and environment other words
* another version of the engine computes differently: a mistake of its own that was mended, a feature that is now on

A test keeps what a guest saw under this number, and fails when it sees anything else (tests/sandbox/seen.py).

Not with what only changes when a launch is stopped (fuel, time): a launch that is stopped has no result; nor with the
limits of a launch, which are a part of the key themselves. Nothing is ever stale after a raise; what was kept before is
found no more, and goes with its age.
"""

from typing import Final

ABI: Final = 1
