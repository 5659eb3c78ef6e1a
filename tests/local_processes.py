"""Processes of this host that train together, as examples/train_sharded.py takes it."""

import concurrent.futures
import contextlib
import socket


@contextlib.contextmanager
def options(count):
    """For each of `count` processes, what it is told of the others; one has none.

    Start and finish them inside: so long nobody else is given the port. A socket is
    bound to it and does not listen, and gRPC's, like this one, may share a port.
    """
    if count == 1:
        yield [[]]
        return
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("localhost", 0))
        port = holder.getsockname()[1]
        yield [
            [
                f"--coordinator=localhost:{port}",
                f"--processes={count}",
                f"--process={i}",
            ]
            for i in range(count)
        ]


def finish(processes):
    """Waits for all, and returns the output of each.

    When one fails the others, which would wait for it, are killed.
    """
    with concurrent.futures.ThreadPoolExecutor(len(processes)) as pool:
        outputs = {pool.submit(process.communicate): process for process in processes}
        try:
            for done in concurrent.futures.as_completed(outputs):
                if outputs[done].returncode != 0:
                    raise RuntimeError(done.result()[0])
        finally:
            for process in processes:
                process.kill()
    return [future.result()[0] for future in outputs]
