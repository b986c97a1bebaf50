"""javascript: QuickJS as a guest. Scripts run as they would elsewhere; nothing that a script does makes it trap."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.sandbox.limits import MIB
from tests.guests.conftest import Run, Runner
from tests.guests.inside import Inside

PATIENCE = 60.0  # seconds


def script(inside: Inside, text: str, *words: str, stdin: bytes = b"", memory: int = 256 * MIB) -> Run:
    return inside.run(
        "javascript", "/dev/in/script", *words, stdin=stdin, memory=memory, inputs={"script": text.encode()}
    )[0]


def answer(inside: Inside, text: str, stdin: bytes = b"") -> object:
    """What the script's `answer` is."""
    return json.loads(script(inside, f"{text}\nconsole.log(JSON.stringify(answer));", stdin=stdin).expect())


def test_it_computes(inside: Inside) -> None:
    text = r"""
    import * as std from "std";
    const totals = new Map();
    for (const line of std.in) {
      const [word, count] = line.split(",");
      totals.set(word, (totals.get(word) ?? 0n) + BigInt(count));
    }
    const answer = [
      [...totals].map(([word, count]) => [word, String(count)]).sort(),
      "a1b22c333".replace(/[a-z](\d+)/gu, (_, digits) => `<${digits.length}>`),
      [3, 1, 2].toSorted(), Array.from(new Uint8Array(new Float64Array([Math.PI]).buffer)),
      new Date(Date.UTC(2024, 1, 29)).toISOString(), encodeURIComponent("日本 ü"), 0.1 + 0.2, 2n ** 100n + "",
    ];
    """
    data = b"".join(b"w%d,%d\n" % (n % 7, n * 10**15) for n in range(10_000))
    assert answer(inside, text, stdin=data) == [
        [[f"w{k}", str(sum(n * 10**15 for n in range(k, 10_000, 7)))] for k in range(7)],
        "<1><2><3>",
        [1, 2, 3],
        [24, 45, 68, 84, 251, 33, 9, 64],
        "2024-02-29T00:00:00.000Z",
        "%E6%97%A5%E6%9C%AC%20%C3%BC",
        0.1 + 0.2,
        str(2**100),
    ]


def test_the_ways_to_name_a_script(run: Runner, tmp_path: Path) -> None:
    """A file, an input, the argument itself; and a script or a directory in its own right, whose arguments are all its
    own."""
    show = "console.log(scriptArgs.join('|'), std.getenv('KEY'), import.meta.url, import.meta.main)"
    (tmp_path / "x.js").write_text(show)
    env = ("--env", "KEY=värde")
    files = ("--files", str(tmp_path))
    assert run("javascript", "/x.js", "a b", "-e", options=(*env, *files)).expect() == (
        "/x.js|a b|-e värde file:///x.js true\n".encode()
    )
    named = ("--in", f"script={tmp_path / 'x.js'}")
    assert run("javascript", "/dev/in/script", options=named).expect() == (
        b"/dev/in/script undefined file:///dev/in/script true\n"
    )
    assert run("javascript", "-e", show, "ü").expect().startswith("-e|ü undefined ".encode())
    (tmp_path / "main.js").write_text(show)
    assert run("javascript", "/x.js", options=files).expect() == b"/x.js undefined file:///x.js true\n"
    for program in (tmp_path / "x.js", tmp_path):
        told = run(str(program), "--top", "3", options=env).expect()
        assert told == "/main.js|--top|3 värde file:///main.js true\n".encode()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "needs a FILE or -e SCRIPT to run; --help says more"),
        (("--what",), "needs a FILE or -e SCRIPT to run; --help says more"),
        (("-e",), "-e must be followed by a script"),
        (("/nowhere.js",), "cannot read /nowhere.js: No such file or directory"),
    ],
)
def test_nothing_to_run(inside: Inside, words: tuple[str, ...], line: str) -> None:
    assert inside.run("javascript", *words)[0].refusal("javascript") == line


def test_help(inside: Inside) -> None:
    assert inside.run("javascript", "--help")[0].expect().startswith(b"usage: javascript FILE [ARG...]\n")


@pytest.mark.parametrize(
    ("text", "code", "errors"),
    [
        ("0", 0, ""),
        ("std.exit()", 0, ""),
        ("std.exit(7); console.log('not here')", 7, ""),
        ("std.exit(-1)", 255, ""),
        ("setTimeout(() => std.exit(3), 1); await new Promise(() => {})", 3, ""),
        ("throw new TypeError('no')", 1, "TypeError: no\n    at <anonymous> (/dev/in/script:1:11)\n"),
        (
            "function f() { null.x }\nf()",
            1,
            "TypeError: cannot read property 'x' of null\n    at f (/dev/in/script:1:15)\n"
            "    at <anonymous> (/dev/in/script:2:1)\n",
        ),
        ("throw 'words'", 1, "words\n"),
        ("throw undefined", 1, "undefined\n"),
        ("throw {toString() { throw 1 }}", 1, "an error that cannot be shown\n"),
        ("throw Object.create(null)", 1, "an error that cannot be shown\n"),
        ("const e = new Error('x'); Object.defineProperty(e, 'stack', {get() { throw 1 }}); throw e", 1, "Error: x\n"),
        ("1 +", 1, "SyntaxError: unexpected token in expression: ''\n    at /dev/in/script:1:4\n"),
        ("undeclared = 1", 1, "ReferenceError: undeclared is not defined\n    at <anonymous> (/dev/in/script:1:1)\n"),
        ("import 'nowhere'", 1, "ReferenceError: cannot import nowhere: No such file or directory\n"),
        ("Promise.reject(new Error('later'))", 1, "Error: later\n    at <anonymous> (/dev/in/script:1:20)\n"),
        (
            "setTimeout(() => { throw new Error('timed') })",
            1,
            "Error: timed\n    at <anonymous> (/dev/in/script:1:30)\n",
        ),
        ("await new Promise(() => {})", 1, "javascript: /dev/in/script awaits something that can no longer come\n"),
        ("Promise.reject(1).catch(() => {}); await 1", 0, ""),
        ("const p = Promise.reject(1); await 1; p.catch(() => {})", 0, ""),
    ],
)
def test_exit_codes_and_errors(inside: Inside, text: str, code: int, errors: str) -> None:
    result = script(inside, text)
    assert (result.code, result.out, result.err) == (code, b"", errors)


def test_what_was_written_before_an_error_is_there(inside: Inside) -> None:
    assert script(inside, "console.log('before'); throw new Error('x', {cause: new RangeError('y')})") == Run(
        1, b"before\n", "Error: x\n    at <anonymous> (/dev/in/script:1:57)\ncaused by: RangeError: y\n"
    )


NESTS = {
    "calls": "(function f() { return 1 + f() })()",
    "calls of much": "(function f(a, b, c, d) { let [x, y] = [a, b]; return f(x, y, c, [d]) + 1 })(1, 2, 3, 4)",
    "constructors": "class A { x = new A() } new A()",
    "map": "(function f() { [1].map(f) })()",
    "sort": "(function f() { [2, 1].sort(f) })()",
    "replace": "(function f() { 'a'.replace(/a/, f) })()",
    "toString": "const o = {toString() { return '' + o }}; '' + o",
    "eval": "(function f() { eval('f()') })()",
    "generators": "function* g() { yield* g() } [...g()]",
    "bound": "let f = () => 1; for (let i = 0; i < 6000; i++) f = f.bind(null); f()",
    "iterator helpers": "let i = [1].values(); for (let n = 0; n < 50000; n++) i = i.map((x) => x); i.next()",
    "iterators joined": "let i = [1].values(); for (let n = 0; n < 50000; n++) i = Iterator.concat(i); i.next()",
    "JSON": "JSON.parse('['.repeat(1e5) + ']'.repeat(1e5))",
    "JSON objects": "JSON.parse('{\"a\":'.repeat(1e5) + '1' + '}'.repeat(1e5))",
    "JSON revived": "JSON.parse('['.repeat(5000) + ']'.repeat(5000), (key, value) => value); throw new RangeError()",
    "JSON made": "let a = []; for (let i = 0; i < 1e5; i++) a = [a]; JSON.stringify(a)",
    "flat": "let a = []; for (let i = 0; i < 1e5; i++) a = [a]; a.flat(Infinity)",
    "join": "let a = []; for (let i = 0; i < 1e5; i++) a = [a]; a.join()",
    "parentheses": "eval('('.repeat(1e5) + '1' + ')'.repeat(1e5))",
    "arrays": "eval('['.repeat(1e5) + ']'.repeat(1e5))",
    "objects": "eval('(' + '{a:'.repeat(1e5) + '1' + '}'.repeat(1e5) + ')')",
    "templates": "eval('`${'.repeat(20000) + '1' + '}`'.repeat(20000))",
    "functions": "eval('(function(){'.repeat(20000) + '})'.repeat(20000))",
    "arrows": "eval('(()=>'.repeat(20000) + '1' + ')'.repeat(20000))",
    "defaults": "eval('((a='.repeat(5000) + '1' + ')=>1)'.repeat(5000))",
    "classes": "eval('(class A{m(){'.repeat(5000) + '}})'.repeat(5000))",
    "patterns": "eval('(' + '['.repeat(5000) + 'a' + ']'.repeat(5000) + '=1)')",
    "blocks": "eval('{'.repeat(1e5) + '}'.repeat(1e5))",
    "signs": "eval('!'.repeat(1e5) + '1')",
    "conditions": "eval('1?1:'.repeat(1e5) + '1')",
    "assignments": "eval('var a;' + 'a='.repeat(1e5) + '1')",
    "awaits": "eval('(async()=>{' + 'await '.repeat(5e4) + '1})')",
    "arguments": "eval('f('.repeat(20000) + '1' + ')'.repeat(20000))",
    **{
        f"proxies: {deed}": f"let p = function() {{}}; for (let i = 0; i < 5e4; i++) p = new Proxy(p, {{}}); {deed}"
        for deed in (
            "p.x",
            "p.x = 1",
            "'x' in p",
            "delete p.x",
            "p()",
            "new p()",
            "Object.keys(p)",
            "Object.getPrototypeOf(p)",
            "Object.setPrototypeOf(p, null)",
            "Object.defineProperty(p, 'x', {value: 1})",
            "Object.getOwnPropertyDescriptor(p, 'x')",
        )
    },
}


@pytest.mark.parametrize("kind", NESTS)
def test_what_nests_too_deep_is_a_range_error(inside: Inside, kind: str) -> None:
    """Which the script can catch, and go on: never a trap."""
    result = script(inside, f"try {{ {NESTS[kind]} }} catch (error) {{ console.log(error.name) }} console.log('on')")
    assert result.expect() == b"RangeError\non\n"


def test_what_nests_far_deeper_than_people_write(inside: Inside) -> None:
    text = """
    const down = (n) => n ? down(n - 1) + 1 : 0;
    const nest = (n, a, b) => a.repeat(n) + b.repeat(n);
    const answer = [down(2000), JSON.stringify(JSON.parse(nest(3000, "[", "]"))).length, nest(100, "(", "1)").length];
    eval("(".repeat(500) + "1" + ")".repeat(500));
    """
    assert answer(inside, text) == [2000, 6000, 300]


def test_a_regular_expression_too_deep_is_a_syntax_error(inside: Inside) -> None:
    text = "try { new RegExp('(?:'.repeat(1e5) + ')'.repeat(1e5)) } catch (error) { console.log(error.message) }"
    assert script(inside, text).expect() == b"stack overflow\n"


def test_out_of_memory_can_be_caught(inside: Inside) -> None:
    text = """
    let all = [];
    try { while (true) all.push(new Array(1000).fill(1)) } catch (error) { all = null; console.log(error.message) }
    console.log(new Array(1000).fill(1).length);
    """
    assert script(inside, text, memory=32 * MIB).expect() == b"out of memory\n1000\n"
    assert inside.outcome is not None
    assert inside.outcome.usage.memory_peak <= 32 * MIB
    for greedy in ("new ArrayBuffer(1e9)", "'x'.repeat(5e8)", "new Array(1e8).fill(0)", "std.in.readAsString()"):
        result = script(inside, greedy, stdin=b"x" * (40 * MIB), memory=32 * MIB)
        assert result.code == 1
        assert result.err.startswith("InternalError: out of memory\n"), (greedy, result.err)


def test_modules(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "lib" / "deep").mkdir(parents=True)
    (tmp_path / "lib" / "greet.js").write_text(
        "import { word } from './deep/word.mjs';\nexport const greet = (name) => `${word} ${name}`;\n"
    )
    (tmp_path / "lib" / "deep" / "word.mjs").write_text(
        "import data from '../../data.json' with { type: 'json' };\nexport const word = data.word;\n"
        "export const where = [import.meta.dirname, import.meta.filename, import.meta.main];\n"
    )
    (tmp_path / "data.json").write_text('{"word": "hello"}')
    (tmp_path / "main.js").write_text(
        "import { greet } from './lib/greet.js';\nimport * as std from 'qjs:std';\nimport { now } from 'os';\n"
        "const { where } = await import('/lib//deep/../.././lib/deep/word.mjs');\n"
        "console.log((await import('/lib/deep/word.mjs')).where === where);\n"
        "console.log(await import('..//x.js').catch((e) => e.message));\n"
        "console.log(greet('you'), where, typeof now(), std.loadFile === globalThis.std.loadFile);\n"
        "for (const wrong of ['./data.json', './none.js', './lib'])\n"
        "  await import(wrong).catch((e) => console.log(e.name));\n"
        "await import('/data.json', {with: {type: 'css'}}).catch((e) => console.log(e.message));\n"
    )
    assert run("javascript", "/main.js", options=("--files", str(tmp_path))).expect().decode().splitlines() == [
        "true",
        "cannot import /x.js: No such file or directory",
        'hello you ["/lib/deep","/lib/deep/word.mjs",false] number true',
        "SyntaxError",
        "ReferenceError",
        "Error",
        'a module of type "css" cannot be imported; "json" can',
    ]


def test_timers_run_when_they_are_due(inside: Inside) -> None:
    text = """
    const answer = [], begun = os.now();
    setTimeout(() => answer.push("late"), 60);
    const id = setInterval(() => { if (answer.push("tick") > 3) clearInterval(id) }, 10);
    clearTimeout(setTimeout(() => answer.push("never"), 5));
    setTimeout(() => answer.push("early"));
    queueMicrotask(() => answer.push("job"));
    await os.sleepAsync(90);
    answer.push(os.now() - begun >= 90);
    """
    assert answer(inside, text) == ["job", "early", "tick", "tick", "late", True]


def test_a_frozen_run_is_the_same_each_time(run: Runner) -> None:
    text = "setTimeout(() => console.log(Date.now(), os.now(), Math.random(), Math.random()), 1e6)"
    first, second = (run("javascript", "-e", text, options=("--frozen",)).expect() for _ in range(2))
    assert first == second
    words = first.split()
    assert words[2] != words[3]
    text = "console.log(Math.random())"
    assert run("javascript", "-e", text).expect() != run("javascript", "-e", text).expect()


def test_chance_is_even(inside: Inside) -> None:
    text = "const answer = new Array(16).fill(0); for (let i = 0; i < 64000; i++) answer[Math.random() * 16 | 0]++;"
    counts = answer(inside, text)
    assert isinstance(counts, list)
    assert all(3600 < count < 4400 for count in counts), counts


def test_files(inside: Inside) -> None:
    text = """
    const answer = [];
    const file = std.open("/tmp/a", "w+");
    file.puts("one\\n", "two\\n", 3, "\\n");
    answer.push(file.seek(4, std.SEEK_SET), file.getline(), file.tell(), file.eof());
    answer.push([...file], file.getline(), file.eof());
    file.close();
    const bytes = new Uint8Array([1, 2, 3, 4, 5]), view = new DataView(bytes.buffer, 1, 3);
    const other = std.open("/tmp/b", "wb+");
    answer.push(other.write(bytes), other.write(view), other.write(bytes.buffer, 4));
    answer.push(other.write(bytes, 1, 2), other.write("ü"));
    other.putByte(255);
    other.seek(0, std.SEEK_SET);
    const got = new Uint16Array(4);
    answer.push(other.read(got, 2, 4), [...got], other.getByte(), [...new Uint8Array(other.readAsArrayBuffer(3))]);
    answer.push(other.readAsString(2), [...new Uint8Array(other.readAsArrayBuffer())], other.getByte());
    answer.push(os.mkdir("/tmp/d"), os.rename("/tmp/a", "/tmp/d/c"), std.loadFile("/tmp/d/c"));
    std.writeFile("/tmp/w", bytes.subarray(2));
    answer.push([...std.loadFile("/tmp/w", {binary: true})], os.readdir("/tmp")[0].sort(), os.stat("/tmp/w")[0].size);
    answer.push((os.stat("/tmp/d")[0].mode & os.S_IFMT) === os.S_IFDIR, os.stat("/tmp/none"), os.remove("/tmp/d/c"));
    answer.push(os.remove("/tmp/d"), os.remove("/tmp/none") < 0, std.open("/etc/passwd"), std.loadFile("/none"));
    """
    assert answer(inside, text) == [
        *(0, "two", 8, False, ["3"], None, True),
        *(5, 3, 1, 2, 2),
        *(4, [0, 0x0201, 0x0403, 0], 5, [2, 3, 4]),
        *("\5\2", [3, 0xC3, 0xBC, 255], -1),
        *(0, 0, "one\ntwo\n3\n"),
        *([3, 4, 5], [".", "..", "b", "d", "w"], 3),
        *(True, [None, 44], 0),
        *(0, True, None, None),
    ]


def test_what_was_not_closed_is_there_all_the_same(inside: Inside) -> None:
    for last in ("", "std.exit(0)", "throw 1"):
        text = "std.open('/dev/out/meta', 'w').puts('{}'); globalThis.f = std.open('/dev/out/more', 'w'); f.puts('x');"
        text += last
        _, written = inside.run("javascript", "/dev/in/s", inputs={"s": text.encode()}, outputs=("meta", "more"))
        assert written == {"meta": b"{}", "more": b"x"}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("std.open('/tmp/x', 'q')", "TypeError"),
        ("const f = std.open('/tmp/x', 'w'); f.close(); f.puts('x')", "TypeError"),
        ("std.in.getline.call({})", "TypeError"),
        ("std.in.read.call(new Uint8Array(1), new Uint8Array(1))", "TypeError"),
        ("std.in.read('text')", "TypeError"),
        ("std.in.read({})", "TypeError"),
        ("std.in.read(new Uint8Array(4), 5)", "RangeError"),
        ("std.in.read(new Uint8Array(4), 1, 4)", "RangeError"),
        ("std.in.read(new Uint8Array(4), -1)", "RangeError"),
        ("std.in.read(new Uint8Array(4), 2 ** 32)", "RangeError"),
        ("std.in.read(new Uint8Array(4), 0, 2 ** 53)", "RangeError"),
        ("const b = new ArrayBuffer(8); std.in.read(b, {valueOf() { b.transfer(); return 4 }})", "TypeError"),
        (
            "const b = new ArrayBuffer(8, {maxByteLength: 9}); std.in.read(b, {valueOf() { b.resize(2); return 4 }})",
            "RangeError",
        ),
        (
            "const b = new ArrayBuffer(64, {maxByteLength: 64}), v = new DataView(b, 9); b.resize(8); std.in.read(v)",
            "TypeError",
        ),
        ("const b = new ArrayBuffer(8).transferToImmutable(); std.in.read(b)", "TypeError"),
        ("std.in.readAsString(-1)", "RangeError"),
        ("std.in.puts('x')", "Error"),
        ("std.writeFile('/nowhere/x', 'x')", "Error"),
        ("std.open('/tmp').getline()", "Error"),
        ("new TextDecoder('utf-16')", "RangeError"),
        ("new TextDecoder('utf-8', {fatal: true}).decode(new Uint8Array([0xff]))", "TypeError"),
        ("setTimeout(1)", "TypeError"),
        ("std.out.write(Symbol())", "TypeError"),
        ("console.log(new Proxy({}, {get() { throw new EvalError() }}))", "EvalError"),
    ],
)
def test_misuse_is_thrown(inside: Inside, text: str, error: str) -> None:
    wrapped = f"try {{ {text} }} catch (error) {{ console.log(error.constructor.name) }}"
    assert script(inside, wrapped, stdin=b"0123456789").expect().decode().splitlines()[-1:] == [error]


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_bytes_and_text(inside: Inside, data: bytes) -> None:
    text = """
    const bytes = new Uint8Array(std.in.readAsArrayBuffer());
    let strict = null;
    try { strict = new TextDecoder("utf-8", {fatal: true}).decode(bytes) } catch {}
    const answer = [strict, [...new TextEncoder().encode(strict ?? "")], new TextDecoder().decode(bytes).length > 0];
    """
    plain = data.removeprefix(b"\xef\xbb\xbf")
    try:
        expected = [plain.decode(), list(plain), bool(plain)]
    except UnicodeDecodeError:
        expected = [None, [], True]
    assert answer(inside, text, stdin=data) == expected


def test_what_console_log_shows(inside: Inside) -> None:
    text = """
    const round = {}; round.round = round;
    console.log("text", 1, -0, 10n, true, null, undefined, [1, "a"], {a: {b: []}}, Symbol("s"), () => 1, round, [1n]);
    console.error("to", "stderr");
    print(); console.info(new Map([[1, 2]]));
    """
    result = script(inside, text)
    assert result.out.decode() == (
        'text 1 0 10 true null undefined [1,"a"] {"a":{"b":[]}} [symbol] [function] [object Object] 1\n\n{}\n'
    )
    assert result.err == "to stderr\n"


def test_a_streamed_stdin_is_answered_line_by_line() -> None:
    """Each line is written only after the last one's answer has come: a read that waited for more would never end."""
    text = "for (const line of std.in) { console.log(line.toUpperCase()); std.out.flush(); }"
    with subprocess.Popen(
        [sys.executable, "-m", "insitu", "run", "javascript", "-e", text],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for word in (b"first\n", b"second\n", "zuletzt: äöü\n".encode()):
            process.stdin.write(word)
            process.stdin.flush()
            assert process.stdout.readline() == word.decode().upper().encode()
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(PATIENCE) == 0


def test_a_large_input_and_output(inside: Inside) -> None:
    data = b"".join(b"%d line\n" % n for n in range(200_000))
    lines = "let n = 0; for (const line of std.in) { std.out.puts(line, '\\n'); n++ } console.error(n)"
    result = script(inside, lines, stdin=data)
    assert (result.code, result.out, result.err) == (0, data, "200000\n")
    binary = "const b = new Uint8Array(1 << 16); for (let n; n = std.in.read(b); ) std.out.write(b, 0, n);"
    assert script(inside, binary, stdin=bytes(range(256)) * 10_000).expect() == bytes(range(256)) * 10_000
    assert script(inside, "std.out.puts(std.in.readAsString())", stdin=data).expect() == data
