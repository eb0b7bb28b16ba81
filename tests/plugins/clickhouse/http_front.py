"""Enough of ClickHouse's HTTP interface, over chDB, to run the server engine's own client against: a test double of the
transport, not of a server's users, quotas or memory. `python http_front.py PATH PASSWORD [HOST PORT]` prints its port.

Each request has a chDB connection of its own: settings and databases leak into nothing.
"""

from __future__ import annotations

import base64
import io
import json
import re
import socket
import sys
import tempfile
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chdb
import lz4.frame

# URL parameters that are the transport's own; all others are settings or, with the prefix param_, query parameters.
TRANSPORT = {
    "database", "query", "query_id", "session_id", "session_timeout", "session_check", "buffer_size", "quota_key",
    "compress", "decompress", "wait_end_of_query", "client_protocol_version", "role", "default_format", "user",
    "password", "send_progress_in_http_headers", "http_headers_progress_interval_ms", "enable_http_compression",
}  # fmt: skip
INSERT = re.compile(rb"\s*(INSERT\s+INTO\s+\S+\s*\([^)]*\))\s*FORMAT\s+Native[ ]*\n", re.IGNORECASE)
TRAILING_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)


def quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    path_and_password: tuple[str, str] = ("", "")

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        parts = urlsplit(self.path)
        try:
            body = self._body()
        except RuntimeError as error:
            self._fail(400, 432, f"Code: 432. DB::Exception: Unknown codec: {error}")
            return
        if parts.path == "/ping":
            self._answer(200, b"Ok.\n")
            return
        if self._password() != self.path_and_password[1]:
            self._fail(403, 516, "Code: 516. DB::Exception: Authentication failed: password is incorrect.")
            return
        fields = dict(parse_qsl(parts.query, keep_blank_values=True))
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/form-data"):
            message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
            for part in message.iter_parts():  # pyright: ignore[reportAttributeAccessIssue]
                fields[part.get_param("name", header="content-disposition")] = part.get_payload(decode=True).decode()
            body = b""
        try:
            self._answer(
                200, self._run(fields, body), {"X-ClickHouse-Format": "Native", "X-ClickHouse-Timezone": "UTC"}
            )
        except Exception as error:  # noqa: BLE001 -- whatever it is, the client gets it as an error of the engine
            text = str(error)
            text = text[text.find("Code: ") :] if "Code: " in text else f"Code: 1002. DB::Exception: {text}"
            code = int(re.match(r"Code: (\d+)", text)[1])  # pyright: ignore[reportOptionalSubscript]
            self._fail(404 if code in (60, 81) else 500, code, text)

    do_GET = do_HEAD = do_POST  # noqa: N815 -- http.server looks for these names

    def _password(self) -> str:
        given = self.headers.get("Authorization", "")
        if given.startswith("Basic "):
            return base64.b64decode(given[6:]).decode().partition(":")[2]
        return self.headers.get("X-ClickHouse-Key", "")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            chunks: list[bytes] = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            body = b"".join(chunks)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "lz4":
            with lz4.frame.open(io.BytesIO(body)) as frames:  # one frame a block, one after the other
                return frames.read()
        return body

    def _run(self, fields: dict[str, str], body: bytes) -> bytes:
        sql = fields.get("query", "").encode()
        connection = chdb.connect(self.path_and_password[0])
        try:
            if fields.get("database"):
                connection.query(f"USE `{fields['database']}`")
            for name, value in fields.items():
                if name not in TRANSPORT and not name.startswith("param_"):
                    connection.query(f"SET {name} = {quoted(value)}")
            insert = INSERT.match(sql + body)
            if insert:
                return self._insert(connection, insert[1].decode(), (sql + body)[insert.end() :])
            sql = sql or body
            form = TRAILING_FORMAT.search(sql)
            chosen = form[1].decode() if form else fields.get("default_format", "TabSeparated")
            text = (sql[: form.start()] if form else sql).decode().rstrip().rstrip(";")
            parameters = {name[6:]: value for name, value in fields.items() if name.startswith("param_")}
            return connection.query(text, chosen, params=parameters).bytes() or b""
        finally:
            connection.close()

    def _insert(self, connection: Any, head: str, data: bytes) -> bytes:
        with tempfile.NamedTemporaryFile(suffix=".native") as file:
            file.write(data)
            file.flush()
            if self._client_is_gone():  # a server reads the body while the query runs, and ends it with an error then
                raise ConnectionResetError("Code: 210. DB::Exception: the client is gone")
            connection.query(f"{head} FROM INFILE {quoted(file.name)} FORMAT Native")
        return b""

    def _client_is_gone(self) -> bool:
        try:
            return self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _fail(self, status: int, code: int, text: str) -> None:
        self._answer(status, text.encode() + b"\n", {"X-ClickHouse-Exception-Code": str(code)})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("X-ClickHouse-Summary", json.dumps({"read_rows": "0", "written_rows": "0"}))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def main() -> None:
    Handler.path_and_password = (sys.argv[1], sys.argv[2])
    keep_open = chdb.connect(sys.argv[1])  # the engine lives as long as one connection does
    host, port = sys.argv[3:5] or ("127.0.0.1", "0")
    server = ThreadingHTTPServer((host, int(port)), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)  # noqa: T201 -- how the test learns the port
    server.serve_forever()
    keep_open.close()


if __name__ == "__main__":
    main()
