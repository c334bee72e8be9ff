"""A real nginx that runs the appliance's njs modules on bytes a test gives."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from bash_guest import APPLIANCE, required
from nginx_site import free_ports

MODULE = Path("/usr/lib/nginx/modules/ngx_http_js_module.so")


@dataclass(frozen=True)
class Bench:
    connection: http.client.HTTPConnection

    def run(self, function: str, body: bytes) -> bytes:
        """What the function of cut_streams.js answers."""
        self.connection.request("POST", f"/{function}", body)
        answer = self.connection.getresponse()
        said = answer.read()
        assert answer.status == 200, said
        return said


@contextmanager
def njs_bench(folder: Path) -> Iterator[Bench]:
    """An nginx on a loopback port, whose locations are the functions of cut_streams.js."""
    [port] = free_ports(1)
    here = Path(__file__).parent
    paths = "\n".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = folder / "nginx.conf"
    configuration.write_text(f"""load_module {MODULE};
daemon off; master_process off; pid {folder}/pid; error_log stderr warn;
events {{}}
http {{
    {paths}
    access_log off; client_max_body_size 16m; client_body_buffer_size 16m; client_body_in_single_buffer on;
    keepalive_requests 1000000;
    js_path {APPLIANCE}/njs; js_import cut from {here}/cut_streams.js;
    server {{
        listen 127.0.0.1:{port};
        location = /cut {{ js_content cut.cut; }}
        location = /members {{ js_content cut.members; }}
        location = /read {{ js_content cut.read; }}
    }}
}}
""")
    nginx = subprocess.Popen(
        [required("nginx"), "-e", "stderr", "-c", str(configuration)], stderr=subprocess.PIPE, text=True
    )
    try:
        _wait(port, nginx)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        yield Bench(connection)
        connection.close()
    finally:
        nginx.send_signal(signal.SIGTERM)
        nginx.communicate(timeout=10)


def _wait(port: int, nginx: subprocess.Popen[str]) -> None:
    for _ in range(200):
        if nginx.poll() is not None:
            pytest.fail(f"nginx ended: {nginx.communicate()[1]}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    pytest.fail("nginx doesn't listen")
