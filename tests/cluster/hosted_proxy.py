"""A proxy on loopback between the program and a storage service, that makes faults."""

import http.client
import http.server
import threading
import time


class Faults:
    """What the proxy does to requests; changed by the checks, read by its threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.clear()

    def clear(self):
        with self.lock:
            self.n_requests = 0
            self.log = []  # (method, path)
            self.every = {}  # fault -> n: each n-th request that it can befall
            self.counts = {}
            self.status = None  # answered to everything
            self.put_delay = 0.0

    def befalls(self, fault):
        """Whether it is the turn of a fault."""
        with self.lock:
            n = self.every.get(fault)
            if n is None:
                return False
            self.counts[fault] = self.counts.get(fault, 0) + 1
            return self.counts[fault] % n == 0


class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults = Faults()
    upstream = None  # host and port of the service
    codes = {}  # what the service calls a status

    def log_message(self, *_):
        pass

    def do(self):
        faults = self.faults
        with faults.lock:
            faults.n_requests += 1
            faults.log.append((self.command, self.path.split("?")[0]))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if faults.status:
            return self.answer(faults.status)
        if faults.befalls("503"):
            return self.answer(503)
        if faults.befalls("cut-before"):
            return self.cut()
        if self.command == "PUT" and faults.put_delay:
            time.sleep(faults.put_delay)
        connection = http.client.HTTPConnection(*self.upstream, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection",)}
        connection.request(self.command, self.path, body=body, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        # The request was carried out, and nobody is told.
        if self.command == "PUT" and faults.befalls("lost-answer"):
            return self.cut()
        if faults.befalls("slow"):
            time.sleep(4)
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else len(content)
        self.send_header("Content-Length", str(length or 0))
        self.end_headers()
        if self.command == "HEAD":
            return None
        if self.command == "GET" and len(content) > 2000 and faults.befalls("cut-half"):
            self.wfile.write(content[: len(content) // 2])
            return self.cut()
        self.wfile.write(content)
        return None

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do

    def answer(self, status):
        body = f"<Error><Code>{self.codes[status]}</Code><Message>as told</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/xml")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def cut(self):
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(2)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Of a connection that was cut on purpose nothing is said."""
