"""What a compiled program consists of, read from its text."""

import re

import jax

TARGET = "jax_fused_ssim_"


def instructions(function, *args):
    """(opcode, shapes of the results, line) of the entry computation."""
    text = jax.jit(function).lower(*args).compile().as_text()
    entry = text[text.index("\nENTRY") :]
    found = []
    for line in entry.splitlines()[2:]:
        match = re.match(r"\s+(?:ROOT )?%?\S+ = (\(.*?\)|\S+) ([\w-]+)\(", line)
        if match:
            shapes = re.findall(r"\w+\[([\d,]*)\]", match.group(1))
            shapes = [tuple(map(int, filter(None, s.split(",")))) for s in shapes]
            found.append((match.group(2), shapes, line))
    return found


def calls(found):
    return [
        re.search(r'custom_call_target="(\w+)"', line).group(1)
        for opcode, _, line in found
        if opcode == "custom-call"
    ]


def ops_in(text):
    """Names of our ops, sorted: of a lowered program or a compiled one, and of all its
    computations, bodies of loops too."""
    return sorted(re.findall(rf'custom_call(?: @|_target="){TARGET}(\w+)', text))
