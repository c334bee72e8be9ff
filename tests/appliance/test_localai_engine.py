"""What engines/localai.sh does: its key, its files, what it tells of a running LocalAI."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from bash_guest import APPLIANCE, Guest
from localai_guest import (
    CONFIGURE,
    CONFIGURE_ENGINE,
    ENGINE,
    INSTALL,
    configured,
    environment_of,
    load_njs,
    put_localai,
)
from nginx_site import CHAT, PASSWORD, Site, basic, bearer, running_site
from recording_engine import Engine, recording_engine

KEY_FILE = "/etc/slm-copilot/engine-key.env"
LISTENS = "  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   990\n"
CLIENT = "  1: 0100007F:1F90 0100007F:A000 01 00000000:00000000 00:00000000 00000000   990\n"
OTHERS = "  2: 0100007F:A000 0100007F:1F90 01 00000000:00000000 00:00000000 00000000    33\n"
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
MAIN_PID = '#!/bin/sh\n[ "$1" != show ] || echo 42\n'


@pytest.fixture
def localai(guest: Guest) -> Guest:
    put_localai(guest)
    return guest


def key_of(guest: Guest) -> str:
    match = re.fullmatch(r"LOCALAI_API_KEY=([A-Za-z0-9]{32})\n", guest.path(KEY_FILE).read_text())
    assert match, "the key file is not one line with a key"
    return match[1]


# ---- installing


def test_it_is_shown_one_model_one_backend_and_nothing_else(localai: Guest) -> None:
    localai.run(f"{INSTALL}; {CONFIGURE_ENGINE}")
    engine = localai.path(ENGINE)
    models = engine / "models"
    assert sorted(path.name for path in models.iterdir()) == ["gguf", "model.yaml"]
    assert yaml.safe_load((models / "model.yaml").read_text())["name"] == "smollm2-135m-instruct"
    assert (models / "gguf" / "model.gguf").read_bytes()[:4] == b"GGUF"
    assert [path.name for path in (engine / "backends").iterdir()] == ["llama-cpp"]
    assert os.access(engine / "backends" / "llama-cpp" / "run.sh", os.X_OK)
    assert list((engine / "empty").iterdir()) == []


def test_installing_twice_changes_nothing(localai: Guest) -> None:
    localai.run(INSTALL)
    before = sorted(str(path) for path in localai.path(ENGINE).rglob("*"))
    localai.run(INSTALL)
    assert sorted(str(path) for path in localai.path(ENGINE).rglob("*")) == before


@pytest.mark.parametrize("missing", ["local-ai", "llama-cpp/run.sh", "environment"])
def test_an_incomplete_tree_is_told_at_the_build(localai: Guest, missing: str) -> None:
    localai.path(f"{ENGINE}/{missing}").unlink()
    result = localai.run(INSTALL, check=False)
    assert result.returncode != 0
    assert f"{missing} is missing" in result.stdout + result.stderr


def test_a_program_that_does_not_run_is_told_at_the_build(localai: Guest) -> None:
    localai.path(f"{ENGINE}/local-ai").write_text("#!/bin/sh\nexit 127\n")
    result = localai.run(INSTALL, check=False)
    assert result.returncode != 0
    assert "local-ai does not run in this image" in result.stdout + result.stderr


def test_another_version_under_its_name_is_told(localai: Guest) -> None:
    localai.path(f"{ENGINE}/local-ai").write_text("#!/bin/sh\necho 'v3.9.0 (abc)'\n")
    result = localai.run(INSTALL)
    assert "local-ai says it is v3.9.0, not v3.11.0" in result.stdout + result.stderr


# ---- configuring


def test_the_key_is_made_once_and_is_roots(localai: Guest) -> None:
    localai.run(CONFIGURE_ENGINE)
    first = key_of(localai)
    assert localai.path(KEY_FILE).stat().st_mode & 0o777 == 0o600
    localai.run(CONFIGURE_ENGINE)
    assert key_of(localai) == first
    for text in ("", "LOCALAI_API_KEY=short\n", f"OTHER={'a' * 32}\n"):
        localai.path(KEY_FILE).write_text(text)
        localai.run(CONFIGURE_ENGINE)
        assert key_of(localai) not in ("", first)


def test_the_key_is_in_no_file_that_others_can_read(localai: Guest) -> None:
    configured(localai)
    key = key_of(localai).encode()
    files = [path for path in localai.root.rglob("*") if path.is_file() and not path.is_symlink()]
    holders = {f"/{path.relative_to(localai.root)}": path for path in files if key in path.read_bytes()}
    assert set(holders) == {KEY_FILE, "/etc/nginx/slm-copilot/auth.conf"}
    assert {path.stat().st_mode & 0o777 for path in holders.values()} == {0o600}


def test_a_change_restarts_the_engine_and_no_change_does_not(localai: Guest) -> None:
    pending = localai.path("/etc/slm-copilot/pending")
    localai.run(CONFIGURE_ENGINE)
    [mark] = [path for path in localai.root.rglob("*engine*") if "pending" in str(path)]
    mark.unlink()
    localai.run(CONFIGURE_ENGINE)
    assert not mark.exists(), f"nothing changed, and {pending} says otherwise"
    localai.run(CONFIGURE_ENGINE, ONEAPP_SLM_MODEL_TEMPERATURE="0.7")
    assert mark.exists()
    model = yaml.safe_load(localai.path("/etc/slm-copilot/engine-model.yaml").read_text())
    assert model["parameters"]["temperature"] == 0.7


def test_threads_and_context_are_what_was_asked_for(localai: Guest) -> None:
    localai.run(CONFIGURE_ENGINE, ONEAPP_SLM_CONTEXT_SIZE="4096", ONEAPP_SLM_THREADS="1")
    told = environment_of(localai.path("/etc/slm-copilot/engine.env"))
    assert (told["LOCALAI_THREADS"], told["LOCALAI_CONTEXT_SIZE"]) == ("1", "4096")
    assert (
        yaml.safe_load(localai.path("/etc/slm-copilot/engine-model.yaml").read_text())["context_size"] == 4096
    )


def test_a_context_that_does_not_fit_is_refused(localai: Guest) -> None:
    result = localai.run(CONFIGURE_ENGINE, check=False, ONEAPP_SLM_CONTEXT_SIZE="262144")
    assert result.returncode != 0
    assert "ONEAPP_SLM_CONTEXT_SIZE: 262144 tokens" in result.stdout + result.stderr


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a$b", "a`b", "a'b", "a\nb", "a#b"])
def test_a_name_that_can_not_be_quoted_safely_is_refused(localai: Guest, name: str) -> None:
    result = localai.run('load_flavor; quoted "$NAME"', check=False, NAME=name)
    assert result.returncode != 0
    assert "can't be written safely" in result.stdout + result.stderr


def test_a_setting_of_another_version_that_is_not_understood_is_refused(localai: Guest) -> None:
    with localai.path(f"{ENGINE}/environment").open("a") as file:
        file.write("LOCALAI_NEW=@SOMETHING@\n")
    result = localai.run(CONFIGURE_ENGINE, check=False)
    assert result.returncode != 0
    assert "the engine's setting LOCALAI_NEW is not understood" in result.stdout + result.stderr
    assert not localai.path("/etc/slm-copilot/engine.env").exists()


# ---- what it can't do


def test_what_it_can_not_do_is_left_out_not_tried(localai: Guest) -> None:
    assert localai.run("load_flavor; engine_can keep_prompts", check=False).returncode == 1
    for what in ("save", "load"):
        assert localai.run(f'"$SLM_APPLIANCE_DIR/bin/kept-prompts" {what}').stdout == ""
    assert "brings no benchmark" in localai.run("load_flavor; engine_bench", check=False).stderr


# ---- a running one


@dataclass
class FakeLocalAI:
    """Answers as LocalAI: /readyz to all, the rest with the key only. `asked` are the bodies."""

    key: str
    tokens: int = 1
    port: int = 0
    asked: list[dict[str, object]] = field(default_factory=list)


@contextmanager
def fake_localai(key: str) -> Iterator[FakeLocalAI]:
    engine = FakeLocalAI(key)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200 if self.path == "/readyz" else 404, {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.headers.get("Authorization") != f"Bearer {engine.key}":
                self._answer(401, {})
                return
            engine.asked.append(body)
            choice = {"finish_reason": "stop", "message": {"content": "H"}}
            self._answer(200, {"choices": [choice], "usage": {"completion_tokens": engine.tokens}})

        def _answer(self, status: int, value: object) -> None:
            text = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    engine.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield engine
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_engine_can_read_its_description_again_after_somebody_closed_the_folder(localai: Guest) -> None:
    localai.run(CONFIGURE_ENGINE)
    folder = localai.path("/etc/slm-copilot")
    folder.chmod(0o700)
    localai.run(CONFIGURE_ENGINE)
    assert folder.stat().st_mode & 0o777 == 0o755


def test_it_is_ready_when_its_model_has_answered_a_completion(localai: Guest) -> None:
    localai.run(CONFIGURE_ENGINE)
    with fake_localai(key_of(localai)) as engine:
        ready = "load_flavor; engine_ready"
        localai.run(ready, SLM_ENGINE_PORT=str(engine.port))
        [asked] = engine.asked
        assert (asked["model"], asked["max_tokens"]) == ("smollm2-135m-instruct", 1)
        assert asked["messages"][0]["role"] == "system", "the template would put in a long one of its own"
        engine.tokens = 0
        assert localai.run(ready, check=False, SLM_ENGINE_PORT=str(engine.port)).returncode != 0
        engine.tokens, engine.key = 1, "another"
        assert localai.run(ready, check=False, SLM_ENGINE_PORT=str(engine.port)).returncode != 0


def test_the_key_is_no_argument_of_what_asks(localai: Guest) -> None:
    localai.run(CONFIGURE_ENGINE)
    localai.stub("curl", '#!/bin/sh\nprintf "%s\\n" "$@" >"$SLM_ROOT/arguments"\n')
    localai.run("load_flavor; engine_answers 5", check=False)
    assert key_of(localai) not in localai.path("/arguments").read_text()


def put_process(guest: Guest, pid: int, parent: int, ticks: int, command: str = "local-ai run") -> None:
    """A process in /proc whose name has what makes naive readers of stat stumble."""
    fields = ["S", str(parent), *["0"] * 9, str(ticks), "5", *["0"] * 20]
    guest.write(f"/proc/{pid}/stat", f"{pid} (ld.so) x (y) {' '.join(fields)}\n")
    guest.write(f"/proc/{pid}/cmdline", command.replace(" ", "\0") + "\0")


def test_its_progress_is_the_backends_cpu_time_and_who_is_connected(localai: Guest) -> None:
    localai.stub("systemctl", MAIN_PID)
    put_process(localai, 42, 1, 900)
    put_process(
        localai, 50, 42, 100, f"{ENGINE}/llama-cpp/lib/ld.so {ENGINE}/llama-cpp/llama-cpp-avx2 --addr x"
    )
    put_process(localai, 51, 50, 7000, "cat")
    look = "load_flavor; engine_progress"
    localai.write("/proc/net/tcp", HEAD + LISTENS + OTHERS)
    localai.stub("curl", '#!/bin/sh\nexit "${HEALTH:-0}"\n')
    assert localai.run(look).stdout == "idle 105\n"
    localai.write("/proc/net/tcp", HEAD + LISTENS + OTHERS + CLIENT)
    assert localai.run(look).stdout == "busy 105\n"
    put_process(localai, 50, 42, 101)
    assert localai.run(look).stdout == "busy 106\n"
    # what a backend computes for a server that hangs reaches nobody
    assert localai.run(look, check=False, HEALTH="28").returncode != 0


def test_it_tells_no_progress_when_it_can_not_be_seen(localai: Guest) -> None:
    localai.stub("systemctl", MAIN_PID)
    localai.write("/proc/net/tcp", HEAD)
    assert localai.run("load_flavor; engine_progress", check=False).returncode != 0


def test_its_settings_are_those_of_the_running_process(localai: Guest) -> None:
    localai.run(CONFIGURE_ENGINE, ONEAPP_SLM_CONTEXT_SIZE="4096", ONEAPP_SLM_MODEL_TEMPERATURE="0.7")
    localai.stub("systemctl", MAIN_PID)
    put_process(localai, 42, 1, 900)
    localai.write("/proc/42/environ", "X=1\0LOCALAI_THREADS=1\0LOCALAI_ADDRESS=127.0.0.1:8080\0")
    told = localai.run("load_flavor; engine_settings").stdout.splitlines()
    assert dict(line.split("=", 1) for line in told) == {
        "threads": "1",
        "address": "127.0.0.1:8080",
        "context_size": "4096",
        "client_context": "4096",
        "temperature": "0.7",
        "model": str(localai.path("/opt/slm-copilot/models/model.gguf")),
    }


@pytest.mark.parametrize("build", ["avx512", "avx2", "avx", "fallback"])
def test_the_cpu_variant_is_the_one_that_runs(localai: Guest, build: str) -> None:
    localai.stub("systemctl", MAIN_PID)
    put_process(localai, 42, 1, 900)
    command = f"{ENGINE}/llama-cpp/lib/ld.so {ENGINE}/llama-cpp/llama-cpp-{build} --addr 127.0.0.1:4"
    put_process(localai, 50, 42, 100, command)
    assert localai.run("load_flavor; engine_cpu_variant").stdout == f"{build}\n"


def test_a_cpu_variant_that_can_not_be_told_is_unknown(localai: Guest) -> None:
    assert localai.run("load_flavor; engine_cpu_variant").stdout == "unknown\n"


# ---- the scripts around the backend


def run_backend(guest: Guest, flags: str, **variables: str) -> str:
    """What the real backend was started as, by what it printed."""
    guest.run(INSTALL)
    guest.write("/proc/cpuinfo", f"processor\t: 0\nflags\t\t: {flags}\n")
    guest.stub("systemd-cat", '#!/bin/sh\ncat >"$SLM_ROOT/journal"\n')
    result = subprocess.run(
        [guest.path(f"{ENGINE}/backends/llama-cpp/run.sh"), "--addr", "127.0.0.1:7"],
        env={
            "PATH": f"{guest.stubs}:{os.environ['PATH']}",
            "SLM_ROOT": str(guest.root),
            "SLM_PROC": str(guest.path("/proc")),
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert (result.stdout, result.stderr) == ("", ""), "LocalAI would write this into files that only grow"
    journal = guest.path("/journal")
    for _ in range(100):  # the reader outlives the backend by a moment
        if journal.exists() and "more" in journal.read_text():
            break
        threading.Event().wait(0.02)
    return journal.read_text()


@pytest.mark.parametrize(
    ("flags", "folder"),
    [
        ("fpu avx avx2", "llama-cpp"),
        ("fpu avx2 avx512f avx512bw avx512dq avx512vl", "llama-cpp"),
        ("fpu avx2 avx512f avx512bw avx512vl", "llama-cpp-without-avx512"),
        ("fpu avx2 avx512f", "llama-cpp-without-avx512"),
    ],
)
def test_the_backend_is_one_that_the_cpu_can_run(localai: Guest, flags: str, folder: str) -> None:
    told = run_backend(localai, flags, LLAMACPP_GRPC_SERVERS="10.0.0.1:50052")
    _, place, *arguments = told.splitlines()[0].split()
    assert (Path(place).name, arguments) == (folder, ["--addr", "127.0.0.1:7", "none"])


def test_the_backend_without_avx512_has_all_the_rest(localai: Guest) -> None:
    localai.run(INSTALL)
    folder = localai.path(f"{ENGINE}/llama-cpp-without-avx512")
    assert sorted(path.name for path in folder.iterdir()) == [
        "lib",
        "llama-cpp-avx",
        "llama-cpp-avx2",
        "llama-cpp-fallback",
        "run.sh",
    ]
    assert all(path.exists() for path in folder.iterdir())
    assert not (folder / "run.sh").is_symlink(), "it would look beside the other one for its builds"


def test_the_backend_runs_on_when_nobody_takes_its_log(localai: Guest) -> None:
    localai.run(INSTALL)
    localai.write("/proc/cpuinfo", "flags\t\t: fpu avx2\n")
    localai.stub("systemd-cat", "#!/bin/sh\nexit 1\n")
    own_script = localai.path(f"{ENGINE}/llama-cpp/run.sh")
    own_script.write_text('#!/bin/bash\nset -e\nsleep 0.3\necho one\necho two\necho ran >"$SLM_ROOT/ran"\n')
    subprocess.run(
        [localai.path(f"{ENGINE}/backends/llama-cpp/run.sh"), "--addr", "127.0.0.1:7"],
        env={
            "PATH": f"{localai.stubs}:{os.environ['PATH']}",
            "SLM_ROOT": str(localai.root),
            "SLM_PROC": str(localai.path("/proc")),
        },
        timeout=20,
        check=False,
    )
    assert localai.path("/ran").exists(), "LocalAI would find its backend dead"


@contextmanager
def log_reader(guest: Guest) -> Iterator[subprocess.Popen[str]]:
    guest.write("/proc/net/tcp", HEAD + OTHERS)
    reader = subprocess.Popen(
        [APPLIANCE / "templates" / "localai" / "backend-log.sh"],
        env={"PATH": os.environ["PATH"], "SLM_PROC": str(guest.path("/proc"))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield reader
    finally:
        reader.kill()
        reader.wait()


def say(reader: subprocess.Popen[str], line: str) -> None:
    assert reader.stdin is not None
    reader.stdin.write(f"{line}\n")
    reader.stdin.flush()


def test_what_the_backend_says_is_logged_until_clients_can_be_there(localai: Guest) -> None:
    with log_reader(localai) as reader:
        assert reader.stdout is not None
        say(reader, "load: the model")
        assert reader.stdout.readline() == "load: the model\n"
        localai.write("/proc/net/tcp", HEAD + OTHERS + LISTENS)
        say(reader, "the first words of a prompt")
        # more than a pipe holds: once it is written, what was before it has been read and dropped
        say(reader, "x" * 200_000)
        localai.write("/proc/net/tcp", HEAD + OTHERS)
        say(reader, "the listener is gone, and this is a prompt too")
        said, _ = reader.communicate(timeout=20)
    assert said == ""


def test_what_is_logged_is_bounded_also_before_that(localai: Guest) -> None:
    with log_reader(localai) as reader:
        said, _ = reader.communicate("y" * 5000 + "\n" + "line\n" * 2000, timeout=20)
    lines = said.splitlines()
    assert len(lines) == 400
    assert max(len(line) for line in lines) == 300


# ---- nginx in front of it


@pytest.fixture(scope="module")
def behind(guest_factory: Callable[[str], Guest]) -> Iterator[tuple[Site, Engine, str]]:
    """nginx, the engine behind it, and the engine's key."""
    guest = guest_factory("localai-site")
    put_localai(guest)
    load_njs(guest)
    guest.run(INSTALL)
    with (
        recording_engine() as engine,
        running_site(guest, engine, configure=CONFIGURE, ONEAPP_SLM_ADMIN_PASSWORD=PASSWORD) as site,
    ):
        yield site, engine, key_of(guest)


QUESTION = json.dumps({"model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": "Hello"}]})


@pytest.mark.parametrize("credential", [bearer(), basic()], ids=["Bearer", "Basic"])
def test_nginx_shows_the_engine_its_own_key_and_nothing_of_the_client(
    behind: tuple[Site, Engine, str], credential: dict[str, str]
) -> None:
    site, engine, key = behind
    engine.forget()
    sent = {
        **credential,
        "Content-Type": "application/json",
        "X-Forwarded-Prefix": "/v1",
        "X-Api-Key": "x",
        "Extra-Usage": "1",
    }
    assert site.ask("POST", CHAT, sent, QUESTION).status == 200
    got = engine.last()
    assert (got.target, got.headers["authorization"]) == (CHAT, f"Bearer {key}")
    assert not {"x-forwarded-prefix", "x-api-key", "extra-usage", "cookie"} & set(got.headers)
    assert PASSWORD not in repr(got)
    assert site.ask("GET", "/v1/models", credential).status == 200
    assert engine.last().headers["authorization"] == f"Bearer {key}"


def test_the_engines_key_is_no_password(behind: tuple[Site, Engine, str]) -> None:
    site, engine, key = behind
    engine.forget()
    for headers in ({}, bearer("wrong"), bearer(key), basic(key)):
        assert site.ask("POST", CHAT, {**headers, "Content-Type": "application/json"}, QUESTION).status == 401
    assert engine.received == []


def test_readiness_asks_the_engine_without_its_key(behind: tuple[Site, Engine, str]) -> None:
    site, engine, _ = behind
    engine.forget()
    site.ready(True)
    assert site.ask("GET", "/readyz").status == 200
    [asked] = engine.received
    assert asked.target == "/readyz"
    assert "authorization" not in asked.headers
