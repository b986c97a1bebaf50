"""The installed Python guest, ready to run in this process: as `insitu run script.py` does it, without the command."""

from functools import cache
from pathlib import Path
from typing import Final

from guests.store import Store
from insitu.cli.guests import compiled
from insitu.cli.python.interpreter import interpreter
from insitu.runtime.bundles import pack
from insitu.runtime.bundles.bundle import Bundle
from insitu.runtime.cache import CompiledCache, user_cache
from insitu.sandbox.digest import program_digest
from insitu.sandbox.files.tree import Files
from insitu.sandbox.launch import Runner
from insitu.sandbox.limits import Limits
from insitu.sandbox.program import Program
from tests.real.interpreter import Interpreter

PATIENCE: Final = 60.0  # seconds
ROOMY: Final = Limits(wall=PATIENCE)


class Python(Interpreter):
    def __init__(self) -> None:
        info, bundle = interpreter("these tests")
        self.name, self.path = "python", Path(info.path)
        self._wasm, self.library = bundle.wasm(), bundle.files()
        self.files = Files.held(self.library)
        self.ready = cache(self._ready)

    def _ready(self, frozen: bool) -> tuple[Runner, Program]:
        runner = Runner(canonical_nans=frozen)
        with Store().lock("tests-python"):  # the processes that run the tests do not compile the same at once
            return runner, compiled(runner, self._wasm, str(self.path))

    def with_files(self, **files: str | bytes) -> Files:
        """The library, and these in /app: `main` is main.py."""
        mine = {f"app/{name}.py": data.encode() if isinstance(data, str) else data for name, data in files.items()}
        return Files.held({**self.library, **mine})


def kept_for_nodes(path: Path, directory: Path) -> None:
    """In the cache `directory`, what was compiled of a bundle for `insitu run` as a node would put it: by the bundle's
    digest. An interpreter takes ten seconds to compile, and that nodes compile bundles is tested elsewhere."""
    data = path.read_bytes()
    bundle, digest = Bundle(data, str(path)), program_digest(data)
    cache = CompiledCache(directory)
    if cache.find(digest) is None:
        code = CompiledCache(user_cache()).find(program_digest(bundle.wasm()))
        assert code is not None
        cache.store_files(digest, pack.write(bundle.files()))
        cache.store(digest, code.read_bytes())
