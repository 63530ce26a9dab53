"""Serves files with variables for containers, and ways in which that goes wrong.

files.py ADDRESS PORT [CERTIFICATE KEY]: with a certificate it speaks TLS.
"""

import base64
import http.server
import ssl
import sys
import threading

FILES = {"/a.env": "# comment\nFIRST=web\nBOTH=first\nOWN=web\n", "/large.env": "A=" + "x" * (300 << 10)}
SECRET = "Basic " + base64.b64encode(b"me:hush-hush").decode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked_flaky = 0

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path == "/stall.env":
            self.send_response(200)
            self.send_header("Content-Length", "10")
            self.end_headers()
            self.wfile.flush()
            threading.Event().wait()
        if path == "/secret.env" and (query, self.headers["Authorization"]) == ("sign=hush-hush", SECRET):
            return self.answer(200, "SECOND=signed\nBOTH=second\n")
        if path == "/flaky.env":
            Handler.asked_flaky += 1
            return self.answer(200, "THIRD=at last\n") if Handler.asked_flaky > 2 else self.answer(503, "hush-hush")
        if path in FILES:
            return self.answer(200, FILES[path])
        return self.answer(404, "hush-hush")

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


server = Server((sys.argv[1], int(sys.argv[2])), Handler)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3], sys.argv[4])
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
