"""`insitu run` with named channels, quotas, digests, --frozen, and an option for every limit."""

import hashlib
import json
import os
import re
import resource
import socket
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from insitu.sandbox.limits import Limits
from tests.cli.conftest import COMMAND, Insitu
from tests.sandbox.guests import module

OURS = 125


def copier(place: Path, *, end: str = "", name: str = "copier.wat") -> Path:
    """A program that copies /dev/in/data to /dev/out/result, and then does this."""
    opened = (
        "(if (call $path_open (i32.const 3) (i32.const 0) (i32.const {at}) (i32.const {size}) (i32.const {flags})"
        " (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const {into})) (then (call $proc_exit (i32.const 9))))"
    )
    body = f"""
      {opened.format(at=100, size=11, flags=0, rights=2, into=200)}
      {opened.format(at=120, size=14, flags=9, rights=64, into=204)}
      (i32.store (i32.const 0) (i32.const 1024))
      (block $end (loop $again
        (i32.store (i32.const 4) (i32.const 50000))
        (if (call $fd_read (i32.load (i32.const 200)) (i32.const 0) (i32.const 1) (i32.const 4))
          (then (call $proc_exit (i32.const 8))))
        (br_if $end (i32.eqz (i32.load (i32.const 4))))
        (if (call $fd_write (i32.load (i32.const 204)) (i32.const 0) (i32.const 1) (i32.const 8))
          (then (call $proc_exit (i32.const 7))))
        (br $again)))
      {end}"""
    path = place / name
    path.write_text(module(body, more='(data (i32.const 100) "dev/in/data") (data (i32.const 120) "dev/out/result")'))
    return path


def said(stderr: bytes) -> str:
    """The one line, ours."""
    text = stderr.decode()
    assert "Traceback" not in text
    assert len(text.splitlines()) == 1, text
    return text


DATA = bytes(range(256)) * 1000


def test_a_named_input_and_a_named_output(insitu: Insitu, tmp_path: Path) -> None:
    (tmp_path / "given").write_bytes(DATA)
    done = insitu("run", "--in", "data=given", "--out", "result=made", copier(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (tmp_path / "made").read_bytes() == DATA
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copier.wat", "given", "made"]


def test_our_own_stdin_as_a_named_input(insitu: Insitu, tmp_path: Path) -> None:
    """A pipe, or a file from where the shell's descriptor stands; the guest's own stdin is empty then."""
    words = ["run", "--in", "data=-", "--out", "result=made", copier(tmp_path)]
    assert insitu(*words, input=DATA).returncode == 0
    assert (tmp_path / "made").read_bytes() == DATA
    (tmp_path / "given").write_bytes(DATA)
    with open(tmp_path / "given", "rb") as file:
        file.seek(1000)
        assert insitu(*words, stdin=file.fileno()).returncode == 0
    assert (tmp_path / "made").read_bytes() == DATA[1000:]
    done = insitu("run", "--in", "data=-", "cat", input=DATA)
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_named_pipe_as_input_and_as_output(tmp_path: Path, environment: Mapping[str, str]) -> None:
    for name in ("from", "to"):
        os.mkfifo(tmp_path / name)
    words = ["run", "--in", "data=from", "--out", "result=to", str(copier(tmp_path))]
    with subprocess.Popen([*COMMAND, *words], env=dict(environment), cwd=tmp_path) as process:
        feeding = threading.Thread(target=lambda: (tmp_path / "from").write_bytes(DATA))
        feeding.start()
        assert (tmp_path / "to").read_bytes() == DATA
        feeding.join()
        assert process.wait(30) == 0


@pytest.mark.parametrize("end", ["(call $proc_exit (i32.const 3))", "unreachable"], ids=["fails", "traps"])
def test_outputs_of_a_guest_that_fails_are_not_kept(insitu: Insitu, tmp_path: Path, end: str) -> None:
    (tmp_path / "given").write_bytes(DATA)
    (tmp_path / "made").write_text("old")
    path = copier(tmp_path, end=end)
    done = insitu("run", "-o", "plain", "--in", "data=given", "--out", "result=made", path)
    assert done.returncode == (3 if "exit" in end else OURS)
    assert (tmp_path / "made").read_text() == "old"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["copier.wat", "given", "made"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--quota", "in/data.bytes=100KiB"], "limit in/data bytes: 100 KiB allowed, 102401 B reached"),
        (["--quota", "in/data.calls=2"], "limit in/data calls: 2 allowed, 3 reached"),
        (["--quota", "out/result.bytes=1000"], "limit out/result bytes: 1000 B allowed, 50000 B reached"),
        (["--quota", "out/result.calls=0"], "limit out/result calls: 0 allowed, 1 reached"),
        (["--max-output", "100000"], "limit output: 100000 B allowed, 150000 B reached"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_quota_is_named_with_its_figures(insitu: Insitu, tmp_path: Path, options: list[str], message: str) -> None:
    (tmp_path / "given").write_bytes(DATA)
    done = insitu("run", *options, "--in", "data=given", "--out", "result=made", copier(tmp_path))
    assert done.returncode == OURS
    assert message in said(done.stderr)
    assert not (tmp_path / "made").exists()


def test_quotas_that_suffice(insitu: Insitu, tmp_path: Path) -> None:
    (tmp_path / "given").write_bytes(DATA)
    quotas = ["in/data.bytes=256000", "in/data.calls=7", "out/result.bytes=256000", "out/result.calls=6"]
    options = [word for quota in quotas for word in ("--quota", quota)]
    done = insitu("run", *options, "--in", "data=given", "--out", "result=made", copier(tmp_path))
    assert (done.returncode, done.stderr) == (0, b"")
    done = insitu("run", "--quota", "stdin.calls=9", "--quota", "stdin.bytes=3", "cat", input=b"1234")
    assert (done.returncode, done.stdout) == (OURS, b"123")
    assert "limit stdin bytes: 3 B allowed, 4 B reached" in said(done.stderr)


def test_figures_and_digests_of_channels(insitu: Insitu, tmp_path: Path) -> None:
    (tmp_path / "given").write_bytes(DATA)
    words = ["--in", "data=given", "--out", "result=made", copier(tmp_path)]
    assert insitu("run", "--json", "out.json", *words).returncode == 0
    plain = json.loads((tmp_path / "out.json").read_text())["channels"]
    assert plain["in/data"] == {"reads": 7, "bytes_read": 256_000, "writes": 0, "bytes_written": 0, "digest": None}
    assert list(plain) == ["stdin", "stdout", "stderr", "in/data", "out/result"]
    done = insitu("run", "--digest", "--json", "out.json", *words)
    assert (done.returncode, done.stderr) == (0, b"")
    exact = json.loads((tmp_path / "out.json").read_text())["channels"]
    digest = "sha256:" + hashlib.sha256(DATA).hexdigest()
    assert exact["in/data"]["digest"] == exact["out/result"]["digest"] == digest
    done = insitu("run", "--digest", "cat", input=DATA)
    assert done.stdout == DATA
    assert f"{digest} 256000 stdin\n{digest} 256000 stdout\n" in done.stderr.decode()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--in", "data", "cat"], "'data' is not NAME=FILE"),
        (["--in", "data=", "cat"], "'data=' is not NAME=FILE"),
        (["--in", "=x", "cat"], "'' is no name of a channel"),
        (["--in", "../x=x", "cat"], "'../x' is no name of a channel"),
        (["--out", "a b=x", "cat"], "'a b' is no name of a channel"),
        (["--in", "data=nothing", "cat"], "nothing: No such file"),
        (["--in", "data=/", "cat"], "/: is a directory"),
        (["--out", "data=/", "cat"], "/: is a directory"),
        (["--out", "data=no/such/place", "cat"], "no/such/place: No such file"),
        (["--out", "data=-", "cat"], "stdout is the guest's stdout"),
        (["--in", "a=-", "--in", "b=-", "cat"], "only be one of them"),
        (["-i", "-", "--in", "b=-", "cat"], "only be one of them"),
        (["--in", "a=/dev/null", "--in", "a=/dev/null", "cat"], "--in a: given twice"),
        (["--out", "a=x", "--out", "a=y", "cat"], "--out a: given twice"),
        (["--out", "a=x", "--out", "b=x", "cat"], "x: two outputs cannot be the same file"),
        (["-o", "x", "--out", "b=./x", "cat"], "./x: two outputs cannot be the same file"),
        (["--quota", "stdin", "cat"], "'stdin' is neither CHANNEL.calls=N nor CHANNEL.bytes=SIZE"),
        (["--quota", "stdin.bits=1", "cat"], "is neither CHANNEL.calls=N"),
        (["--quota", "stdin.calls=1KiB", "cat"], "'1KiB' is not a number of calls"),
        (["--quota", "stdin.calls=-1", "cat"], "'-1' is not a number of calls"),
        (["--quota", "stdin.bytes=lots", "cat"], "'lots' is not a size"),
        (["--quota", "in/x.bytes=1", "cat"], "there is no channel 'in/x'; there are stdin, stdout, stderr"),
        (["--quota", "stdin.calls=1", "--quota", "stdin.calls=2", "cat"], "--quota stdin.calls: given twice"),
        (["--quota", f"stdin.calls={1 << 63}", "cat"], "quota: 9223372036854775808 calls is outside"),
        (["--frozen=", "cat"], "'' is no seed"),
        (["--frozen=soon", "cat"], "'soon' is no seed"),
        (["--frozen=-1", "cat"], "'-1' is no seed"),
        (["--frozen=1.5", "cat"], "'1.5' is no seed"),
        ([f"--frozen={1 << 64}", "cat"], f"from 0 to {(1 << 64) - 1}"),
        (["--frozen=" + "9" * 10_000, "cat"], "is no seed"),
        (["--cpu", "0", "cat"], "limit cpu: 0.0 seconds is outside"),
        (["--cpu", "soon", "cat"], "'soon' is not a duration"),
        (["--table", "-1", "cat"], "--table"),
        (["--open-files", "3", "cat"], "--open-files"),
        (["--tmp-size", "x", "cat"], "'x' is not a size"),
        (["--tmp-files", "x", "cat"], "--tmp-files"),
        (["--max-path", "0", "cat"], "limit path"),
        (["--max-arguments", "1TiB", "cat"], "limit arguments"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_mistake_is_125_and_said_in_a_line(insitu: Insitu, tmp_path: Path, words: list[str], message: str) -> None:
    done = insitu("run", *words)
    assert done.returncode == OURS
    assert message in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    assert done.stdout == b""
    assert list(tmp_path.iterdir()) == []


# Limits.


def test_every_limit_has_an_option(insitu: Insitu, tmp_path: Path) -> None:
    options = {
        "--memory": "2MiB", "--table": "50", "--fuel": "123456", "--cpu": "5s", "--wall": "6s", "--max-output": "7KiB",
        "--open-files": "8", "--tmp-size": "9KiB", "--tmp-files": "10", "--max-path": "11", "--max-arguments": "12KiB",
    }  # fmt: skip
    words = [word for pair in options.items() for word in pair]
    assert insitu("run", *words, "--json", "out.json", "cat", input=b"x").returncode == 0
    limits = json.loads((tmp_path / "out.json").read_text())["limits"]
    expected = Limits(
        memory=2 << 20, table=50, fuel=123_456, cpu=5.0, wall=6.0, output=7 << 10, open_files=8, tmp=9 << 10,
        tmp_files=10, path=11, arguments=12 << 10,
    )  # fmt: skip
    assert limits == expected.to_wire()
    assert all(limits[name] != value for name, value in Limits().to_wire().items()), "each has been set"
    assert insitu("run", "--json", "out.json", "cat", input=b"x").returncode == 0
    assert json.loads((tmp_path / "out.json").read_text())["limits"] == Limits().to_wire()


@pytest.mark.parametrize(
    ("options", "body", "message"),
    [
        (["--cpu", "50ms"], "(loop $l (br $l))", r"limit cpu: 50 ms allowed, [\d.]+ (ms|s) reached"),
        (["--max-arguments", "20"], "", r"limit arguments: 20 B allowed, 31 B reached"),
        (["--table", "9"], "", r"limit table: 9 allowed, 10 reached"),
    ],
    ids=["cpu", "arguments", "table"],
)
def test_a_limit_is_named_with_its_figures(
    insitu: Insitu, tmp_path: Path, options: list[str], body: str, message: str
) -> None:
    (tmp_path / "guest.wat").write_text(module(body, more="(table 10 funcref)"))
    done = insitu("run", *options, "--env", "A=b", "./guest.wat", "four", "words", "of mine", "x")
    assert done.returncode == OURS
    assert re.search(message, said(done.stderr))


def test_what_a_guest_was_refused_before_it_failed_is_said(insitu: Insitu, tmp_path: Path) -> None:
    (tmp_path / "given").write_bytes(b"x")
    words = ["--in", "data=given", "--out", "result=made", "--max-path", "12"]
    done = insitu("run", *words, copier(tmp_path))
    assert done.returncode == 9
    assert said(done.stderr).endswith("exit code 9 (after limit path: 12 B allowed, 14 B reached)\n")


# --frozen.


def clock(place: Path) -> Path:
    body = """
      (drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 16)))
      (drop (call $random_get (i32.const 24) (i32.const 8)))
      (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 16))
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"""
    path = place / "clock.wat"
    path.write_text(module(body))
    return path


def test_frozen_takes_no_word_that_is_not_behind_its_equals_sign(insitu: Insitu, tmp_path: Path) -> None:
    path = clock(tmp_path)
    zero = insitu("run", "--frozen", path).stdout
    assert len(zero) == 16
    assert zero == insitu("run", "--frozen=0", path).stdout == insitu("run", "--frozen", "--wall", "9s", path).stdout
    assert zero == insitu("run", "--frozen", "--", path).stdout
    largest = insitu("run", f"--frozen={(1 << 64) - 1}", path).stdout
    assert largest == insitu("run", "--frozen=0xffffffffffffffff", path).stdout
    assert largest != zero
    assert insitu("run", path).stdout != insitu("run", path).stdout
    # A word that only looks like it is the value of the option before it, or the guest's.
    (tmp_path / "--frozen").write_bytes(b"input")
    assert insitu("run", "-i", "--frozen", "cat").stdout == b"input"
    assert insitu("run", "--env", "A=1", "cat", "--frozen", input=b"x").returncode != OURS


def test_a_socket_is_as_good_as_a_file(insitu: Insitu, tmp_path: Path) -> None:
    """Frozen, on stdin and by name: the same output and the same fuel."""
    path, found = copier(tmp_path), []
    (tmp_path / "given").write_bytes(DATA)
    for way in ("file", "socket", "pipe"):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            words = ["run", "--frozen", "--json", "out.json", "--out", f"result={way}"]
            if way == "file":
                done = insitu(*words, "--in", "data=given", path)
            elif way == "pipe":
                done = insitu(*words, "--in", "data=-", path, input=DATA)
            else:
                feeding = threading.Thread(target=lambda end=theirs: (end.sendall(DATA), end.close()))
                feeding.start()
                done = insitu(*words, "--in", "data=-", path, stdin=ours.fileno())
                feeding.join()
        assert (done.returncode, done.stderr) == (0, b"")
        assert (tmp_path / way).read_bytes() == DATA
        report = json.loads((tmp_path / "out.json").read_text())
        found.append((report["usage"]["fuel"], report["channels"]))
    assert all(one == found[0] for one in found)


def test_an_output_that_the_host_cannot_write_is_no_success(insitu: Insitu, tmp_path: Path) -> None:
    """Whether the guest looks or not. What was there before stays."""
    careless = module(
        "(i32.store (i32.const 4) (i32.const 9000))"
        "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"
    )
    (tmp_path / "careless.wat").write_text(careless)
    done = insitu("run", "-o", "/dev/full", "careless.wat")
    assert done.returncode == 125
    assert said(done.stderr) == "insitu: /dev/full: stdout could not be written: No space left on device\n"
    (tmp_path / "result").write_text("old")
    done = insitu(
        "run",
        "-o",
        "result",
        "careless.wat",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    assert done.returncode == 125
    assert "result: stdout could not be written: File too large" in said(done.stderr)
    assert (tmp_path / "result").read_text() == "old"
    done = insitu("run", "--in", "data=careless.wat", "--out", "result=/dev/full", copier(tmp_path))
    assert done.returncode == 7
    assert "/dev/full: out/result could not be written: No space left on device" in done.stderr.decode()
