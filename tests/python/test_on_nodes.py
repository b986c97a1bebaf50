"""Python on the storage nodes of a real cluster: a stored script, and a bundle of one, on the objects they read."""

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from insitu.runtime.bundles import pack
from insitu.runtime.bundles.bundle import Bundle
from insitu.runtime.cache import CompiledCache, user_cache
from insitu.sandbox.digest import program_digest
from insitu.storage_hooks.devcluster import DevCluster
from tests.python.guest import Python
from tests.storage_hooks.store import Store, records

MARK = """\
# /// script
# [tool.insitu]
# content_type = "source"
# frozen = true
# ///
import sys
from PIL import Image, ImageDraw
with Image.open(sys.stdin.buffer) as picture:
    ImageDraw.Draw(picture).rectangle((8, 8, 40, 24), fill=(255, 255, 255))
    picture.save(sys.stdout.buffer, "JPEG", quality=int(sys.argv[1]))
"""


def marked(data: bytes, quality: int) -> bytes:
    """What the script makes of it, natively."""
    with Image.open(io.BytesIO(data)) as picture:
        ImageDraw.Draw(picture).rectangle((8, 8, 40, 24), fill=(255, 255, 255))
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=quality)
        return out.getvalue()


def photo() -> bytes:
    picture = Image.radial_gradient("L").resize((320, 200)).convert("RGB")
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=90)
    return out.getvalue()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of programs with a bundle of that script, as `insitu program build` makes it."""
    place = tmp_path_factory.mktemp("programs")
    (place / "mark.py").write_text(MARK)
    command = [sys.executable, "-m", "insitu", "program", "build", "mark.py"]
    subprocess.run(command, cwd=place, check=True, timeout=280, capture_output=True)
    return place


def kept_for_nodes(path: Path, *, frozen: bool) -> None:
    """In the user's cache, what was compiled for `insitu run` as a node would put it there: by the bundle's digest.
    An interpreter takes a processor many seconds, and that nodes compile bundles is tested elsewhere."""
    data = path.read_bytes()
    bundle, digest = Bundle(data, str(path)), program_digest(data)
    cache = CompiledCache(user_cache(), canonical_nans=frozen)
    if cache.find(digest) is None:
        code = cache.find(program_digest(bundle.wasm()))
        assert code is not None
        cache.store_files(digest, pack.write(bundle.files()))
        cache.store(digest, code.read_bytes())


@pytest.fixture(scope="module")
def store(built: Path, python: Python) -> Iterator[Store]:
    python.ready(False)
    kept_for_nodes(built / "mark.zip", frozen=True)
    kept_for_nodes(python.path, frozen=False)
    with DevCluster(programs=[built], cache=user_cache()) as cluster:
        with closing(cluster.connection()) as connection:
            connection.put_container("photos")
            connection.put_container("progs")
        yield Store(cluster, "photos")


def test_a_bundle_of_a_script_marks_a_photo_on_its_node(store: Store, built: Path) -> None:
    before = photo()
    store.put("p.jpg", before, **{"Content-Type": "image/jpeg"})
    answer = store.run("p.jpg", "mark 80")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg"), answer
    assert answer.body == marked(before, 80), "as native Pillow makes it"
    [record] = records(store.cluster, answer.request_id)
    assert record.program == "mark"
    wrong = store.run("p.jpg", "mark nonsense")
    assert (wrong.status, wrong.problem["exit_code"]) == (422, 1)
    assert "ValueError: invalid literal for int()" in wrong.problem["stderr"]

    bundle = (built / "mark.zip").read_bytes()
    Store(store.cluster, "progs").put("marks.zip", bundle)
    answer = store.run("p.jpg", "/progs/marks.zip 80")
    assert answer.body == marked(before, 80), "from a container too"


def test_a_stored_script_runs_on_the_node_of_an_object(store: Store) -> None:
    source = b"import sys\nprint(sys.argv[1:], len(sys.stdin.buffer.read()), __name__)\n"
    Store(store.cluster, "progs").put("s.py", source)
    store.put("o", b"x" * 5000)
    answer = store.run("o", "python /dev/in/script a 'b c' in.script=/progs/s.py")
    assert (answer.status, answer.body) == (200, b"['a', 'b c'] 5000 __main__\n"), answer
