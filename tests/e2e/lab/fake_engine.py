"""What microsegd asks of an Engine API on a Swarm node, answered without an engine: who this node is, and who its peers are."""

import http.server
import json
import os
import socketserver
import threading


class FakeEngine:
    """Serves at a unix socket. `peers`: network id -> underlay addresses, changed at will."""

    def __init__(self, path, address):
        self.address, self.peers = address, {}
        if os.path.exists(path):
            os.unlink(path)
        engine = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                url = self.path.partition("?")[0]
                if url.endswith("/events"):
                    return engine.hold(self)
                status, body = engine.answer(url)
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def address_string(self):
                return "unix"  # there is no other

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

        self.closing = threading.Event()
        self.server = Server(path, Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, url):
        if url.endswith("/info"):
            return 200, {"Swarm": {"NodeAddr": self.address, "LocalNodeState": "active"}}
        if url.endswith("/networks"):
            return 200, [self.network(network) for network in self.peers]
        if "/networks/" in url and url.rsplit("/", 1)[1] in self.peers:
            return 200, self.network(url.rsplit("/", 1)[1])
        if url.endswith("/containers/json"):
            return 200, []
        return 404, {"message": "no such thing: " + url}

    def network(self, network):
        return {"Name": "spanning", "Id": network, "Driver": "microseg:latest", "Scope": "swarm", "Labels": {}, "Options": {},
                "Containers": {}, "Peers": [{"Name": address, "IP": address} for address in self.peers[network]]}

    def hold(self, request):
        """Events: none ever."""
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        self.closing.wait()
        request.close_connection = True

    def close(self):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
