"""insitu: small WebAssembly programs, run on the storage node that holds the bytes."""

__version__ = "0.1.0"
