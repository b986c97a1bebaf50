"""A directory with requirements becomes a bundle, and that runs: by `insitu run`, and on the nodes of a real cluster.

One bundle for all of it: an interpreter takes a processor many seconds to compile.
"""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from insitu.runtime.cache import user_cache
from insitu.storage_hooks.devcluster import DevCluster
from tests.python.guest import Python, kept_for_nodes
from tests.python.wheels import offline, wheel
from tests.storage_hooks.store import Store, records

MAIN = """
import sys
there = sorted({"first", "second", "helper", "colorsys", "PIL.Image"} & set(sys.modules))
import first, helper, colorsys
from importlib import metadata
from PIL import Image, ImageDraw

def about():
    import late
    print(there, first.value, late.__cached__, metadata.version("first"), input(), sys.argv)

def mark(quality):
    with Image.open(sys.stdin.buffer) as picture:
        ImageDraw.Draw(picture).rectangle((8, 8, 40, 24), fill=(255, 255, 255))
        picture.save(sys.stdout.buffer, "JPEG", quality=int(quality))

if __name__ == "__main__":
    {"about": lambda *_: about(), "mark": mark}[sys.argv[1]](*sys.argv[2:])
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


def insitu(place: Path, *words: str, stdin: bytes = b"", code: int = 0) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "insitu", *words]
    environment = {**os.environ, **offline(place / "wheels")}
    done = subprocess.run(command, cwd=place, env=environment, input=stdin, capture_output=True, timeout=280)
    assert done.returncode == code, done
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With `project/`, and what was built of it, in `programs/`."""
    place = tmp_path_factory.mktemp("bundle")
    for name in ("project", "wheels", "programs"):
        (place / name).mkdir()
    wheel(place / "wheels", "first", requires="second", body="import second; value = second.value + 1")
    wheel(place / "wheels", "second", body="value = 1")
    project = place / "project"
    (project / "requirements.txt").write_text("first>=1\npillow>=10\n")
    (project / "main.py").write_text(MAIN)
    (project / "helper.py").write_text("")
    (project / "late.py").write_text("")
    (project / "LICENCE").write_text("mine")
    (project / "program.toml").write_text('version = "1.2"\ncontent_type = "source"\n[limits]\nwall = "20s"\n')
    told = insitu(place, "program", "build", "-o", "programs/project@1.2.zip", "project").stdout
    assert told.startswith(b"programs/project@1.2.zip  project@1.2, sha256:")
    return place


BUILT = "programs/project@1.2.zip"


def test_the_same_directory_gives_the_same_bytes(place: Path) -> None:
    insitu(place, "program", "build", "-o", "again.zip", "project")
    assert (place / "again.zip").read_bytes() == (place / BUILT).read_bytes()


def test_its_imports_are_done_and_its_body_runs(place: Path) -> None:
    done = insitu(place, "run", BUILT, "about", "a", stdin=b"line\n")
    late = "/app/__pycache__/late.cpython-313.pyc"
    there = ["PIL.Image", "colorsys", "first", "helper", "second"]
    assert done.stdout.decode() == f"{there} 2 {late} 1.0 line ['/app/main.py', 'about', 'a']\n"
    assert done.stderr == b"", "it was compiled when it was built"


def test_what_it_says_of_itself(place: Path) -> None:
    shown = json.loads(insitu(place, "program", "show", "--json", BUILT).stdout)
    assert (shown["name"], shown["version"], shown["content_type"]) == ("project", "1.2", "source")
    assert shown["limits"] == {"wall": 20.0}
    assert "LICENCE" in shown["contents"]
    assert not [name for name in shown["contents"] if "/bin/" in name or name.endswith(("RECORD", "INSTALLER"))]
    assert b"a bundle, project@1.2" in insitu(place, "program", "check", BUILT).stdout


def test_a_script_that_does_not_compile_is_told_when_it_is_built(place: Path) -> None:
    (place / "s.py").write_text("x = 1\nif x\n    pass\n")
    told = insitu(place, "program", "build", "s.py", code=1).stderr.decode()
    assert told == "  File \"/app/s.py\", line 2\n    if x\n        ^\nSyntaxError: expected ':'\n"
    assert not (place / "s.zip").exists()


@pytest.fixture(scope="module")
def store(place: Path, python: Python) -> Iterator[Store]:
    python.ready(False)
    kept_for_nodes(place / BUILT, user_cache())
    kept_for_nodes(python.path, user_cache())
    with DevCluster(programs=[place / "programs"], cache=user_cache()) as cluster:
        with closing(cluster.connection()) as connection:
            connection.put_container("photos")
            connection.put_container("progs")
        yield Store(cluster, "photos")


def test_it_marks_a_photo_on_its_node(store: Store, place: Path) -> None:
    before = photo()
    store.put("p.jpg", before, **{"Content-Type": "image/jpeg"})
    answer = store.run("p.jpg", "project mark 80")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg"), answer
    assert answer.body == marked(before, 80), "as native Pillow makes it"
    [record] = records(store.cluster, answer.request_id)
    assert record.program == "project"
    wrong = store.run("p.jpg", "project mark nonsense")
    assert (wrong.status, wrong.problem["exit_code"]) == (422, 1)
    assert "ValueError: invalid literal for int()" in wrong.problem["stderr"]

    Store(store.cluster, "progs").put("marks.zip", (place / BUILT).read_bytes())
    answer = store.run("p.jpg", "/progs/marks.zip mark 80")
    assert answer.body == marked(before, 80), "from a container too"


def test_a_stored_script_runs_on_the_node_of_an_object(store: Store) -> None:
    source = b"import sys\nprint(sys.argv[1:], len(sys.stdin.buffer.read()), __name__)\n"
    Store(store.cluster, "progs").put("s.py", source)
    store.put("o", b"x" * 5000)
    answer = store.run("o", "python /dev/in/script a 'b c' in.script=/progs/s.py")
    assert (answer.status, answer.body) == (200, b"['a', 'b c'] 5000 __main__\n"), answer
