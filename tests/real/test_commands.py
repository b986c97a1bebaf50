"""The same programs as a user runs them: `insitu run`, with real files, pipes and exit codes."""

import csv
import io
import json
import subprocess
from pathlib import Path

from tests.real.interpreter import PATIENCE, Interpreter


def run(command: list[str], stdin: bytes = b"") -> tuple[int, bytes, str]:
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE)
    return done.returncode, done.stdout, done.stderr.decode()


def test_a_script_from_files_turns_csv_into_json(cpython: Interpreter, tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "convert.py").write_text(
        "import csv, json, sys\n"
        "for row in csv.DictReader(sys.stdin): print(json.dumps(row), flush=True)\n"
        "print(len(sys.argv), 'done', file=sys.stderr)\n"
    )
    rows = [{"id": str(n), "text": f'a "quoted", {n}\nline'} for n in range(200)]
    source = io.StringIO()
    writer = csv.DictWriter(source, ["id", "text"])
    writer.writeheader()
    writer.writerows(rows)
    words = [*cpython.command("--files", str(app)), "/convert.py", "--an-option", "of its own"]
    code, out, err = run(words, source.getvalue().encode())
    assert (code, err) == (0, "3 done\n")
    assert [json.loads(line) for line in out.splitlines()] == rows


def test_exit_codes_errors_and_the_report(cpython: Interpreter, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    words = cpython.command("--json", str(report), "--env", "WHO=me")
    code, out, err = run([*words, "-c", "import os, sys; print(os.environ['WHO']); sys.exit(42)"])
    assert (code, out, err) == (42, b"me\n", "")
    told = json.loads(report.read_text())
    assert (told["exit_code"], told["end"], told["ok"]) == (42, "exit", False)
    assert told["usage"]["bytes_out"] == 3
    code, out, err = run([*cpython.command(), "-c", "{}['key']"])
    assert (code, out) == (1, b"")
    assert err.splitlines()[0].startswith("Traceback")
    assert err.splitlines()[-1] == "KeyError: 'key'"


def test_a_copy_of_a_directory_leaves_the_directory_alone(quickjs: Interpreter, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("before")
    script = """
    std.writeFile("/in.txt", "after"); std.writeFile("/new.txt", std.loadFile("/in.txt"));
    console.log(os.readdir("/")[0].filter((name) => name.endsWith("txt")).sort().join(), std.loadFile("/new.txt"));
    """
    code, out, err = run([*quickjs.command("--root", str(tmp_path)), "--std", "-e", script])
    assert (code, out, err) == (0, b"in.txt,new.txt after\n", "")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("in.txt", "before")]


def test_in_a_pipeline(quickjs: Interpreter) -> None:
    """Its reader goes away after three lines: it ends, without a word and without a traceback."""
    with subprocess.Popen(
        [*quickjs.command(), "--std", "-e", "for (let n = 0; ; n++) std.out.puts(n + '\\n');"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert [process.stdout.readline() for _ in range(3)] == [b"0\n", b"1\n", b"2\n"]
        process.stdout.close()
        # QuickJS does not look at the result of its writes: it is its wall time, or ours, that ends it.
        process.terminate()
        assert process.wait(PATIENCE) == 143
        assert b"Traceback" not in process.stderr.read()
