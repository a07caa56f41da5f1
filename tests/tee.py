"""A line that can be listened to: forwards TCP connections and keeps a copy of every byte."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Line:
    """What was heard, one buffer for each connection and direction."""

    def __init__(self, target: int):
        self.target = target
        self.buffers: list[bytearray] = []
        self.server = socket.create_server(("127.0.0.1", 0))

    @property
    def port(self) -> int:
        """Where to connect to be forwarded."""
        return self.server.getsockname()[1]

    def heard(self, needle: bytes) -> bool:
        """Whether ``needle`` went over the line in one piece."""
        return any(needle in buffer for buffer in self.buffers)

    def serve(self) -> None:
        """Take connections until the server socket is closed."""
        with suppress(OSError):
            while True:
                near, _ = self.server.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self.forward, args=(source, sink), daemon=True).start()

    def forward(self, source: socket.socket, sink: socket.socket) -> None:
        """Pass bytes on until one side ends."""
        buffer = bytearray()
        self.buffers.append(buffer)
        with suppress(OSError):
            while chunk := source.recv(2**16):
                buffer += chunk
                sink.sendall(chunk)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def listened(target: int) -> Iterator[Line]:
    """Inside, a line to port ``target`` of this machine is open."""
    line = Line(target)
    threading.Thread(target=line.serve, daemon=True).start()
    try:
        yield line
    finally:
        line.server.close()
