"""Stands between dockerd and the driver socket and takes the time of every call."""

import http.server
import os
import socketserver
import threading
import time

from .engine_api import request


class TimedProxy:
    def __init__(self, listen, target):
        """Sockets as seen from here. `calls` gets (method, milliseconds) of each call."""
        self.calls = []
        calls = self.calls

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                start = time.monotonic()
                status, answer = request(target, "POST", self.path, body, {"Content-Type": ""})
                calls.append((self.path.rsplit(".", 1)[-1], (time.monotonic() - start) * 1e3))
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def address_string(self):
                return "dockerd"

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True
            request_queue_size = 128

        if os.path.exists(listen):
            os.unlink(listen)
        self.server = Server(listen, Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def times(self, method):
        return [ms for name, ms in self.calls if name == method]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
