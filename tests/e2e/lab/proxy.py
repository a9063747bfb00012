"""Stand between dockerd and the daemon, and note when which call was under way: TimedProxy in front of the driver socket,
ReadsProxy in front of Docker's."""

import http.server
import json
import os
import socket
import socketserver
import threading
import time
from dataclasses import dataclass

from .engine_api import request


@dataclass
class Call:
    method: str
    body: dict
    began: float  # both in seconds of time.monotonic()
    ended: float

    @property
    def ms(self):
        return (self.ended - self.began) * 1e3


class Proxy:
    def serve(self, listen, handler):
        """A thread for each connection to the socket `listen`."""
        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True
            request_queue_size = 128

        if os.path.exists(listen):
            os.unlink(listen)
        self.server = Server(listen, handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class TimedProxy(Proxy):
    def __init__(self, listen, target):
        """Sockets as seen from here. `calls` gets a Call for each that was answered."""
        self.calls = []
        calls = self.calls

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                start = time.monotonic()
                status, answer = request(target, "POST", self.path, body, {"Content-Type": ""})
                calls.append(Call(self.path.rsplit(".", 1)[-1], json.loads(body) if body else {}, start, time.monotonic()))
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def address_string(self):
                return "dockerd"

            def log_message(self, *_):
                pass

        self.serve(listen, Handler)

    def times(self, method):
        return [call.ms for call in self.calls if call.method == method]


class ReadsProxy(Proxy):
    def __init__(self, listen, target):
        """`reads` gets (when it began, when it ended) of every request for the network whose id is `network`."""
        self.network, self.reads = None, []
        tap = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                """One request and its answer: the daemon opens a connection for each."""
                began, head = time.monotonic(), self.request.recv(65536)
                with socket.socket(socket.AF_UNIX) as engine:
                    try:
                        engine.connect(target)
                        engine.sendall(head)
                        while data := engine.recv(65536):
                            self.request.sendall(data)
                    except OSError:
                        return  # one of the two is gone: so it is for the other
                if tap.network and head.startswith(f"GET /networks/{tap.network} ".encode()):
                    tap.reads.append((began, time.monotonic()))

        self.serve(listen, Handler)
