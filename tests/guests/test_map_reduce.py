"""A map-reduce by hand, each step in a sandbox: what it gives is what Unix's own pipeline gives of the whole."""

import random
import subprocess

from tests.guests.orders import C_LOCALE
from tests.guests.within import within

PARTITIONS = 3


def log(seed: str, lines: int) -> bytes:
    chance = random.Random(seed)
    hosts = [f"host-{number}.example" for number in range(400)]
    said = (
        f"# {chance.random()}" if chance.random() < 0.1 else f"{chance.choice(hosts)}\t{chance.randint(0, 10**9)}"
        for _ in range(lines)
    )
    return "\n".join(said).encode() + b"\n"


def test_of_three_logs() -> None:
    logs = [log("a", 5_000), log("b", 1), log("c", 12_000)]
    outputs = [str(number) for number in range(PARTITIONS)]

    sorted_parts: list[list[bytes]] = [[] for _ in outputs]
    for text in logs:
        wanted = within("grep", "-v", "^#", stdin=text).expect()
        dealt = within("partition", str(PARTITIONS), stdin=wanted, outputs=outputs)
        assert dealt.expect() == b""
        for number, output in enumerate(outputs):
            sorted_parts[number].append(within("sort", stdin=dealt.outputs[output]).expect())

    results = []
    for parts in sorted_parts:
        inputs = {f"of-{number}": part for number, part in enumerate(parts[1:], 1)}
        merged = within("merge", stdin=parts[0], inputs=inputs).expect()
        assert merged.count(b"\n") == sum(part.count(b"\n") for part in parts) > 0
        results.append(within("sum", stdin=merged).expect())

    program = r'{ n[$1] += $2 } END { for (key in n) printf "%s\t%.0f\n", key, n[key] }'
    pipeline = rf"grep -v '^#' | awk -F'\t' '{program}' | sort"
    done = subprocess.run(["sh", "-c", pipeline], input=b"".join(logs), capture_output=True, check=True, env=C_LOCALE)
    keys = [{line.split(b"\t")[0] for line in result.splitlines()} for result in results]
    assert not keys[0] & keys[1] | keys[1] & keys[2] | keys[0] & keys[2]
    assert within("merge", stdin=results[0], inputs={"1": results[1], "2": results[2]}).expect() == done.stdout
