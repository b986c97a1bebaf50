"""Settings: what a file may say, what is refused in which words, and that the page tells of all of them."""

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from insitu.runtime.client import Launch, LaunchRequest
from insitu.runtime.errors import BadRequest
from insitu.runtime.settings import Settings, SettingsError, TenantLimits, kinds, read
from insitu.sandbox.limits import GIB, MIB, Limits
from tests.runtime.conftest import StartNode

PAGE = Path(__file__).parent.parent.parent / "docs" / "node.md"


def rows(text: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


def test_the_page_tells_of_every_setting_and_of_no_other() -> None:
    nodes, _, rest = PAGE.read_text().partition("\n## Settings\n")[2].partition("\nIn `[tenants]`")
    tenants, _, limits = rest.partition("\n## ")[0].partition("\nIn `[limits]`")
    assert rows(nodes) == list(kinds(Settings))
    assert rows(tenants) == list(kinds(TenantLimits))
    assert rows(limits) == [limit.name for limit in fields(Limits)]


def test_the_pages_example_is_one(tmp_path: Path) -> None:
    [example] = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "node.toml").write_text(example)
    settings = Settings(**{"cache": "c", **read(tmp_path / "node.toml")})
    assert settings.workers == 16
    assert settings.limits == {"memory": GIB, "wall": 600.0}
    archive = settings.of_tenant("AUTH_archive")
    assert (archive.running, archive.memory, archive.cpu_per_minute) == (2, GIB, 90.0)
    assert settings.of_tenant("AUTH_other").running == 8


def loaded(tmp_path: Path, text: str) -> Settings:
    (tmp_path / "node.toml").write_text(text)
    return Settings(**{"socket": "s", "cache": "c", **read(tmp_path / "node.toml")})


def test_all_of_them_from_a_file(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        """
        socket = "/run/x"
        cache = "/var/x"
        name = "n1"
        programs = ["/a", "/b"]
        isolation = "shared"
        workers = 9
        spares_min = 1
        spares_max = 3
        queue = 7
        queue_seconds = "1.5min"
        launches = 10
        loaded_bytes = "2MiB"
        records = 0
        keep_failed = "/k"
        keep_failed_size = 4096
        [limits]
        memory = "1GiB"
        cpu = "1min"
        fuel = 1000
        [tenants]
        running = 3
        queued = 4
        memory = "1GiB"
        cpu_per_minute = 6
        stderr = 100
        [tenant."AUTH_b"]
        memory = "none"
        cpu_per_minute = "none"
        """,
    )
    of_all = TenantLimits(3, 4, GIB, 6.0, 100)
    assert settings == Settings(
        socket="/run/x",
        cache="/var/x",
        name="n1",
        programs=("/a", "/b"),
        isolation="shared",
        workers=9,
        spares_min=1,
        spares_max=3,
        queue=7,
        queue_seconds=90.0,
        launches=10,
        loaded_bytes=2 * MIB,
        records=0,
        keep_failed="/k",
        keep_failed_size=4096,
        limits={"memory": GIB, "cpu": 60.0, "fuel": 1000},
        tenants=of_all,
        tenant={"AUTH_b": TenantLimits(3, 4, None, None, 100)},
    )
    assert settings.of_tenant("AUTH_a") == of_all


def test_what_stands_open_is_a_share_of_the_node() -> None:
    limits = Settings(socket="s", cache="c", workers=8, queue=100).of_tenant("AUTH_a")
    assert (limits.running, limits.queued) == (6, 50)
    limits = Settings(socket="s", cache="c", workers=1, queue=1).of_tenant("AUTH_a")
    assert (limits.running, limits.queued) == (1, 1)


WRONG = {
    "wrokers = 3": "unknown setting wrokers; allowed: socket, cache, cache_bytes, name, .*, tenants, tenant",
    "[tenants]\nrunnin = 3": r"unknown setting tenants\.runnin; allowed: running, queued, memory",
    "[tenant.AUTH_x]\nrunnin = 3": r'unknown setting tenant\."AUTH_x"\.runnin; allowed: running',
    "limits = 3": "limits: 3 is no table",
    "[limits]\nmemry = 3": "limits: unknown limit 'memry'; allowed: arguments, cpu, fuel, memory",
    '[limits]\nmemory = "much"': "limits: limit memory: 'much' is not a size",
    '[limits]\nwall = "soon"': "limits: limit wall: 'soon' is not a duration",
    '[limits]\nfuel = "10s"': "limits: limit fuel: '10s' is not a number of units",
    "[limits]\nfuel = 0": "limits: limit fuel: 0 units is outside",
    "[limits]\nmemory = true": "limits: limit memory: True is not a number of bytes",
    "[limits]\nwall = nan": "limits: limit wall: nan seconds is outside",
    '[limits]\nmemory = "1TiB"': "limits: limit memory: 1099511627776 bytes is outside",
    "[tenants.AUTH_x]\nrunning = 3": r"unknown setting tenants\.AUTH_x; allowed",
    "tenant = 3": "tenant: 3 is no table",
    "[tenant]\nrunning = 3": 'tenant."running": 3 is no table',
    "workers = 0": "workers: 0 is not a whole number from 1 to 4096",
    "workers = 1.5": "workers: 1.5 is not a whole number",
    "workers = true": "workers: True is not a whole number",
    'workers = "none"': "workers: 'none' is not a whole number",
    "name = 3": "name: 3 is not a word in quotes",
    'programs = "x"': "programs: 'x' is not a list of words",
    "programs = [3]": r"programs: \(3,\) is not a list of words",
    'isolation = "none"': "isolation: 'none' is not shared or process",
    'loaded_bytes = "much"': "loaded_bytes: 'much' is not a size",
    "loaded_bytes = -1": "loaded_bytes: -1 is not a size",
    "queue_seconds = 0": "queue_seconds: 0.0 is not a time.* from 0.01 to 3600 seconds",
    'queue_seconds = "soon"': "queue_seconds: 'soon' is not a duration",
    "queue_seconds = nan": "queue_seconds: nan is not a time",
    "queue_seconds = []": r"queue_seconds: \[\] is not a time",
    '[tenants]\nmemory = "x"': r"tenants\.memory: 'x' is not a size",
    "[tenants]\nmemory = 1": r"tenants\.memory: 1 is not a size.*, or none",
    "[tenant.A]\nstderr = 1": r'tenant\."A"\.stderr: 1 is not a size',
    "spares_min = 5\nspares_max = 2": "spares_min 5 is above spares_max 2",
    "workers = 1\nworkers = 2": "node.toml: .*overwrite",
    "workers": "node.toml: Expected",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=WRONG[text]) as caught:
        loaded(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read(tmp_path / "nothing.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(SettingsError, match=r"latin\.toml: .*decode"):
        read(tmp_path / "latin.toml")


def test_the_stricter_isolation_holds() -> None:
    process, shared = (Settings(socket="s", cache="c", isolation=name) for name in ("process", "shared"))
    asked: list[Any] = [None, "", "shared", "process"]
    assert [process.isolation_of(word) for word in asked] == ["process"] * 4
    assert [shared.isolation_of(word) for word in asked] == ["shared", "shared", "shared", "process"]
    wrong: list[Any] = ["none", 3, ["process"], {}]
    for word in wrong:
        with pytest.raises(BadRequest, match="isolation"):
            shared.isolation_of(word)


# A real node with a file.


def test_options_win_over_the_file_and_the_file_over_what_is_so_otherwise(
    start_node: StartNode, tmp_path: Path
) -> None:
    file = tmp_path / "node.toml"
    file.write_text('name = "from-file"\nisolation = "shared"\nspares_min = 3\nspares_max = 3\nsocket = "/nowhere/x"\n')
    node = start_node("--config", str(file), "--isolation", "process")
    ping = node.client.ping()
    assert ping["node"] == "test-node"  # said by an option, as is the socket
    assert ping["spares"] == 3
    assert node.run("copy")[1].isolation == "process"


def test_no_launch_and_no_program_exceeds_the_operators_maximum(
    start_node: StartNode, test_programs: Path, tmp_path: Path
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("modest", "greedy"):
        (programs / f"{name}.wasm").write_bytes((test_programs / "loop.wasm").read_bytes())
    (programs / "greedy.toml").write_text('limits = {fuel = 2000000, wall = "1h"}\n')
    (tmp_path / "node.toml").write_text('[limits]\nfuel = 1000000\nwall = "20s"\nmemory = "1MiB"\n')
    node = start_node("--config", str(tmp_path / "node.toml"), programs=programs)
    # Nobody asked, or the program alone: the maximum.
    for name in ("modest", "greedy"):
        outcome = node.run(name)[1].outcome
        assert outcome.limit is not None
        assert (outcome.limit.name, outcome.limit.allowed) == ("fuel", 1_000_000)
    # The launch asked for less, or for as much.
    for fuel in (1000, 1_000_000):
        outcome = node.run("greedy", limits=Limits(fuel=fuel))[1].outcome
        assert outcome.limit is not None
        assert (outcome.limit.name, outcome.limit.allowed) == ("fuel", fuel)
    # It asked for more.
    served = node.client.ping()["served"]
    for limits, words in (
        (Limits(fuel=1_000_001), "limit fuel: 1000000 allowed on this node, 1000001 asked for"),
        (Limits(wall=21.0), "limit wall: 20 s allowed on this node, 21 s asked for"),
        (Limits(memory=2 * MIB), "limit memory: 1 MiB allowed on this node, 2 MiB asked for"),
    ):
        for name in ("modest", "sha256:" + "0" * 64):  # before anything is fetched
            with pytest.raises(BadRequest, match=words):
                node.run(name, limits=limits)
    assert node.client.ping()["served"] == served


def insitu(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "insitu", "node", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=os.environ | env)


def test_questions_go_where_the_file_says(start_node: StartNode, tmp_path: Path) -> None:
    node = start_node()
    node.run("copy")
    (tmp_path / "node.toml").write_text(f'socket = "{node.path}"\n')
    done = insitu("--config", str(tmp_path / "node.toml"), "runs")
    assert done.returncode == 0, done.stderr
    assert "copy" in done.stdout


@pytest.mark.parametrize(
    ("text", "words"), [("colour = 1\n", "unknown setting colour"), ("workers = 0\n", "workers: 0 is not")]
)
def test_a_file_that_is_wrong_starts_no_node(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "node.toml").write_text(text)
    done = insitu("--config", str(tmp_path / "node.toml"), "--socket", str(tmp_path / "s"))
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "s").exists()


def test_isolation_of_a_launch(start_node: StartNode) -> None:
    node = start_node("--isolation", "shared")

    def run(isolation: str) -> tuple[int, str]:
        reading, writing = os.pipe()
        with Launch.connect(node.path) as launch, open(os.devnull, "rb") as null:
            launch.start(LaunchRequest("copy", tenant="A", isolation=isolation), null.fileno(), writing)
            os.close(writing)
            record = launch.outcome()
        os.close(reading)
        return record.worker, record.isolation

    node.run("copy", tenant="A")
    node.calm()
    shared = [run("") for _ in range(3)] + [run("shared")]
    assert {kind for _, kind in shared} == {"shared"}
    assert len({worker for worker, _ in shared}) == 1
    alone = [run("process") for _ in range(3)]
    assert {kind for _, kind in alone} == {"process"}
    assert len({worker for worker, _ in alone} | {shared[0][0]}) == 4
    assert run("") == shared[0], "the tenant's own worker is still there"
    with pytest.raises(BadRequest, match="isolation 'none'"):
        run("none")
