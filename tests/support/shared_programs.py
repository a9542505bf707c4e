"""What XLA makes of a program whose arrays are divided among devices; runs in its own process.

    python -m tests.support.shared_programs sharing_cases '[["batch", 8, "gradient", 512]]'

Devices of the host are chosen before JAX starts, so a test calls `measured`, which starts one.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

DEVICES = 8
COLLECTIVE = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"


def measured(module, cases):
    """What `module.measure(case)` gives for each case, on 8 devices of the host."""
    flags = f"--xla_force_host_platform_device_count={DEVICES} --xla_backend_optimization_level=0"
    program = [sys.executable, "-P", "-m", __name__, module, json.dumps(cases)]
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    done = subprocess.run(
        program,
        env=os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def collectives(text):
    """The collectives of a compiled program, and of these those inside of a loop."""
    bodies, name = {}, None
    for line in text.splitlines():
        head = re.match(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$", line)
        name = head.group(1) if head else name
        bodies.setdefault(name, []).append(line)
    every = [line for lines in bodies.values() for line in lines]
    called = {
        name: {x for line in lines for x in _called(line)} & set(bodies)
        for name, lines in bodies.items()
    }
    inside, left = set(), {x for line in every if " while(" in line for x in _called(line)}
    while left:
        inside |= left
        left = {x for name in left for x in called.get(name, ())} - inside
    found = [x for line in every for x in _collective(line)]
    looped = [x for name in inside for line in bodies.get(name, ()) for x in _collective(line)]
    return found, looped


def _called(line):
    named = re.findall(r"(?:body|condition|to_apply|calls|\w+_computations?)=\{?([^,}]*)", line)
    return {x.strip().lstrip("%") for names in named for x in names.split(",")}


def _collective(line):
    return re.findall(rf"= (.*? (?:{COLLECTIVE}))(?:-start)?\(", line)


def report(function, arrays, shardings):
    """Collectives, and the share of one device's work and memory that each of many has."""
    import jax

    one = jax.jit(function).lower(*arrays).compile()
    divided = [
        jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
        for x, sharding in zip(arrays, shardings, strict=True)
    ]
    many = jax.jit(function).lower(*divided).compile()
    found, looped = collectives(many.as_text())
    work = [x.cost_analysis()["flops"] for x in (many, one)]
    memory = [x.memory_analysis().temp_size_in_bytes for x in (many, one)]
    return {
        "found": found,
        "looped": looped,
        "work": work[0] / work[1],
        "memory": memory[0] / memory[1],
    }


if __name__ == "__main__":
    import importlib

    measure = importlib.import_module(f"tests.support.{sys.argv[1]}").measure
    print(json.dumps([measure(case) for case in json.loads(sys.argv[2])]))
