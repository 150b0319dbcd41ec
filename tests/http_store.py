"""Servers that a model store may meet: HTTP with faults on order, and a proxy that cuts."""

import contextlib
import hashlib
import http.server
import pathlib
import re
import socket
import ssl
import threading
import time

PIECE = 16 * 1024


class HttpStore:
    """Files by path, served with ranges and ETags, and what goes wrong with them.

    cuts[path]      bytes after which each next request for the path is cut, one entry a request
    statuses[path]  answers that come first, one entry a request: (status, {header: value})
    rates[path]     bytes a second
    stalls[path]    requests that send their headers and then nothing for this many seconds
    redirects[path] Location
    lengths[path]   what Content-Length says instead of the truth
    gates[path]     a threading.Event before which there is no answer
    """

    def __init__(self, certificate=None):
        self.files, self.cuts, self.statuses, self.rates = {}, {}, {}, {}
        self.stalls, self.redirects, self.lengths, self.gates = {}, {}, {}, {}
        self.requests = []  # (method, path, {header in lower case: value}, body)
        self.posts = {}  # Answers to methods other than GET, by path.
        self.lock = threading.Lock()
        store = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                store.answer(self)

            def do_PUT(self):
                store.answer(self)

            def do_POST(self):
                store.answer(self)

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # Clients are killed here on purpose.

        self.server = Server(("127.0.0.1", 0), Handler)
        if certificate:  # A PEM file with its key.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def gets(self, path):
        """The headers of each GET of the path."""
        with self.lock:
            return [headers for method, asked, headers, _ in self.requests
                    if method == "GET" and asked == path]

    def _next(self, table, path, otherwise=None):
        with self.lock:
            entries = table.get(path)
            return entries.pop(0) if entries else otherwise

    def _plain(self, handler, status, headers=(), body=b""):
        handler.send_response(status)
        for name, value in dict(headers).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def answer(self, handler):
        path = handler.path
        headers = {name.lower(): value for name, value in handler.headers.items()}
        body = handler.rfile.read(int(headers.get("content-length", 0)))
        with self.lock:
            self.requests.append((handler.command, path, headers, body))
        if path in self.gates:
            self.gates[path].wait(60)
        status = self._next(self.statuses, path)
        if status:
            return self._plain(handler, *status)
        if handler.command != "GET":
            found = path in self.posts
            return self._plain(handler, 200 if found else 404, body=self.posts.get(path, b""))
        if path in self.redirects:
            return self._plain(handler, 302, {"Location": self.redirects[path]})
        if path not in self.files:
            return self._plain(handler, 404)
        return self._file(handler, path, headers)

    def _file(self, handler, path, headers):
        data = self.files[path]
        etag = f'"{hashlib.sha1(data).hexdigest()}"'
        start, status = 0, 200
        wanted = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        if wanted and headers.get("if-range", etag) == etag:
            start, status = int(wanted.group(1)), 206
            if start >= len(data):
                return self._plain(handler, 416, {"Content-Range": f"bytes */{len(data)}"})
        handler.send_response(status)
        handler.send_header("ETag", etag)
        handler.send_header("Content-Length", str(self.lengths.get(path, len(data) - start)))
        if status == 206:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.end_headers()
        stall = self._next(self.stalls, path)
        if stall:
            handler.wfile.write(data[start:start + PIECE])
            time.sleep(stall)
            handler.close_connection = True
            return None
        cut = self._next(self.cuts, path, len(data))
        for at in range(start, min(len(data), start + cut), PIECE):
            handler.wfile.write(data[at:min(at + PIECE, start + cut)])
            if path in self.rates:
                time.sleep(PIECE / self.rates[path])
        if cut < len(data) - start or path in self.lengths:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
        return None


class CuttingProxy:
    """Passes connections on to a port of this host; cuts the next answers after so many bytes."""

    def __init__(self, port):
        self.target = port
        self.cuts = []
        self.heads = []  # The first bytes of each connection.
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, contextlib.suppress(OSError), \
                socket.create_connection(("127.0.0.1", self.target)) as server:
            head = client.recv(65536)
            self.heads.append(head.decode("latin-1"))
            is_model = ".onnx" in self.heads[-1].splitlines()[0]
            room = self.cuts.pop(0) if is_model and self.cuts else None
            server.sendall(head)
            while data := server.recv(65536):
                if room is not None:
                    data, room = data[:room], room - len(data)
                client.sendall(data)
                if room is not None and room <= 0:
                    break
            client.shutdown(socket.SHUT_RDWR)


def entries(cache, name="model.onnx"):
    """The files of this name in the cache."""
    return sorted(pathlib.Path(cache).glob(f"*/*/*/{name}"))
