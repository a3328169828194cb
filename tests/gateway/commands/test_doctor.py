"""`gateway doctor` over neighbours that do not answer as they should."""

from __future__ import annotations

import socket
import threading

from gateway.commands.doctor import _fetch


def test_a_neighbour_that_does_not_speak_http_is_one_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"\x00\x00\x18\x04\x00 settings of HTTP/2\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert _fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/") is None
        thread.join()
