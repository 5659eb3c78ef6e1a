"""Processes of this host that train together, as examples/train_sharded.py takes it."""

import socket


def options(count):
    """For each of `count` processes, what it is told of the others; one has none."""
    if count == 1:
        return [[]]
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        port = listener.getsockname()[1]
    return [
        [f"--coordinator=localhost:{port}", f"--processes={count}", f"--process={i}"]
        for i in range(count)
    ]
