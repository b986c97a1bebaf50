"""QuickJS-ng, as its authors compiled it for WASI, runs ordinary scripts."""

import json
from pathlib import Path
from typing import Any

import pytest

from insitu.sandbox.files.tree import Files
from insitu.sandbox.limits import MIB, Limits
from tests.real.interpreter import PATIENCE, ROOMY, Conversation, Interpreter


def evaluate(quickjs: Interpreter, script: str, *words: str, **options: Any) -> Any:
    """What the script's `answer` is."""
    text = f"{script}\nconsole.log(JSON.stringify(answer));"
    return json.loads(quickjs.run("--std", "-e", text, *words, **options).expect())


def test_it_computes(quickjs: Interpreter) -> None:
    script = r"""
    const rows = std.in.readAsString().trim().split("\n").map((line) => line.split(","));
    const totals = new Map();
    for (const [word, count] of rows) totals.set(word, (totals.get(word) ?? 0n) + BigInt(count));
    const answer = [
      [...totals].map(([word, count]) => [word, String(count)]).sort(),
      "a1b22c333".replace(/[a-z](\d+)/gu, (_, digits) => `<${digits.length}>`),
      [3, 1, 2].toSorted(), Array.from(new Uint8Array(new Float64Array([Math.PI]).buffer)),
      new Date(Date.UTC(2024, 1, 29)).toISOString(), encodeURIComponent("日本 ü"), 0.1 + 0.2, 2n ** 100n + "",
    ];
    """
    data = b"".join(b"w%d,%d\n" % (n % 7, n * 10**15) for n in range(10_000))
    totals = [[f"w{k}", str(sum(n * 10**15 for n in range(k, 10_000, 7)))] for k in range(7)]
    assert evaluate(quickjs, script, stdin=data, way="pipe") == [
        totals,
        "<1><2><3>",
        [1, 2, 3],
        [24, 45, 68, 84, 251, 33, 9, 64],
        "2024-02-29T00:00:00.000Z",
        "%E6%97%A5%E6%9C%AC%20%C3%BC",
        0.1 + 0.2,
        str(2**100),
    ]


def test_files_in_tmp(quickjs: Interpreter) -> None:
    script = """
    const answer = [];
    const file = std.open("/tmp/a", "w+");
    file.puts("one\\ntwo\\n");
    file.seek(4, std.SEEK_SET);
    answer.push(file.getline(), file.tell(), file.eof());
    file.close();
    const fd = os.open("/tmp/b", os.O_RDWR | os.O_CREAT | os.O_EXCL);
    const bytes = new Uint8Array([1, 2, 3, 4]);
    answer.push(os.write(fd, bytes.buffer, 0, 4), os.seek(fd, 1, std.SEEK_SET), os.read(fd, bytes.buffer, 0, 4));
    answer.push([...bytes], os.close(fd), os.open("/tmp/b", os.O_RDWR | os.O_CREAT | os.O_EXCL) < 0);
    answer.push(os.mkdir("/tmp/d"), os.rename("/tmp/a", "/tmp/d/c"), std.loadFile("/tmp/d/c"));
    answer.push(os.readdir("/tmp")[0].sort(), os.readdir("/tmp/d")[0].sort());
    answer.push(os.utimes("/tmp/b", 1000, 2000), os.stat("/tmp/b")[0].mtime, os.stat("/tmp/b")[0].size);
    answer.push((os.stat("/tmp/d")[0].mode & os.S_IFMT) === os.S_IFDIR, os.stat("/tmp/none")[1] > 0);
    answer.push(os.remove("/tmp/d/c"), os.remove("/tmp/d"), os.remove("/tmp/none") < 0, os.readdir("/tmp")[0].sort());
    answer.push(std.open("/etc/passwd", "r"), std.open("/new", "w"), os.getcwd()[0]);
    """
    assert evaluate(quickjs, script) == [
        *("two", 8, False),
        *(4, 1, 3, [2, 3, 4, 4], 0, True),
        *(0, 0, "one\ntwo\n"),
        *([".", "..", "b", "d"], [".", "..", "c"]),
        *(0, 2000, 4, True, True),
        *(0, 0, True, [".", "..", "b"]),
        *(None, None, "/"),
    ]


def test_arguments_environment_and_modules_from_files(quickjs: Interpreter, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "greet.mjs").write_text("export const greet = (name) => `hello ${name}`;\n")
    (tmp_path / "main.mjs").write_text(
        'import * as std from "qjs:std";\nimport { greet } from "./lib/greet.mjs";\n'
        'console.log(greet(scriptArgs.slice(1).join("+")), std.getenv("KEY"), JSON.stringify(std.getenviron()));\n'
    )
    files = Files.read_only(tmp_path)
    result = quickjs.run("/main.mjs", "a b", "ü", env={"KEY": "värde", "E": ""}, files=files)
    assert result.expect() == 'hello a b+ü värde {"KEY":"värde","E":""}\n'


def test_a_streamed_stdin_is_answered_line_by_line(quickjs: Interpreter) -> None:
    script = """
    let line;
    while ((line = std.in.getline()) !== null) { console.log(line.toUpperCase()); std.out.flush(); }
    """
    talk = Conversation(quickjs, "--std", "-e", script)
    for word in ("first", "second", "a third one"):
        talk.say(word)
        assert talk.hear() == word.upper()
    assert talk.end().ok


@pytest.mark.parametrize(
    ("script", "code", "errors"),
    [
        ("0", 0, ""),
        ("std.exit(7)", 7, ""),
        ("std.exit(255)", 255, ""),
        ("throw new TypeError('no')", 1, "TypeError: no\n"),
        ("function f() { null.x } f()", 1, "TypeError: cannot read property 'x' of null\n"),
        ("Promise.reject(new Error('later'))", 1, "Possibly unhandled promise rejection: Error: later\n"),
        ("1 +", 1, "SyntaxError: "),
    ],
)
def test_exit_codes_and_errors(quickjs: Interpreter, script: str, code: int, errors: str) -> None:
    result = quickjs.run("--std", "-e", script)
    assert (result.outcome.end, result.code) == ("exit", code)
    assert result.errors.startswith(errors)
    assert bool(result.errors) == bool(errors)


def test_timers_and_sleep(quickjs: Interpreter) -> None:
    script = """
    const begun = os.now(), order = [];
    await new Promise((resolve) => os.setTimeout(resolve, 60));
    order.push("timer");
    await os.sleepAsync(60);
    order.push("promise");
    os.sleep(80);
    const answer = [order, (os.now() - begun) / 1000];
    """
    order, passed = evaluate(quickjs, script)
    assert order == ["timer", "promise"]
    assert 195 <= passed < PATIENCE * 1000


def test_out_of_memory_is_its_own_error(quickjs: Interpreter) -> None:
    limits = Limits(memory=32 * MIB, wall=PATIENCE)
    result = quickjs.run("-e", "const all = []; while (true) all.push(new Array(1000).fill(1));", limits=limits)
    assert (result.outcome.end, result.code) == ("exit", 1)
    assert result.errors.startswith("InternalError: out of memory")
    assert result.outcome.usage.memory_peak <= 32 * MIB


def test_a_trap_names_its_functions(quickjs: Interpreter) -> None:
    """This build does not watch its stack: too deep a recursion runs over its own data, and then it traps. It does so
    under wasmtime's own WASI too."""
    script = "function f() { f() } try { f() } catch (error) { console.log(error.name, error.message) }"
    result = quickjs.run("-e", script, limits=ROOMY)
    assert result.outcome.end == "trap"
    assert result.outcome.trap is not None
    assert "qjs!_start" in result.outcome.trap
    assert result.output == b""
    assert quickjs.run("-e", "console.log('still serves')").expect() == "still serves\n"
