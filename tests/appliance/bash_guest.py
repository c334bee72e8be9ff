"""Runs the appliance's bash in a folder: SLM_ROOT moves every path, the edge (ip, systemctl) is a stub."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from gguf_file import SMALL_MODEL, write_gguf

REPOSITORY = Path(__file__).resolve().parents[2]
APPLIANCE = REPOSITORY / "appliance"

FLAVOR = """\
SLM_FLAVOR=ci
SLM_VERSION=0.1.0
SLM_ENGINE=llama-server
SLM_ENGINE_VERSION=1.2.3
SLM_MODEL_ID=smollm2-135m-instruct
SLM_MODEL_FILE=model.gguf
SLM_MODEL_NAME="SmolLM2 135M Instruct"
SLM_MODEL_LICENSE=Apache-2.0
SLM_BUILD_ID=7
"""

# Answers the questions of lib/facts.sh; addresses are words of $FAKE_ADDRESSES, "!" marks a temporary one.
IP_STUB = r"""#!/usr/bin/env bash
case "$*" in
  *"route show default"*) echo '[{"dst":"default","dev":"eth0"}]' ;;
  *addr*)
    items=''
    for address in $FAKE_ADDRESSES; do
      temporary=false
      [[ $address != !* ]] || temporary=true
      address=${address#!}
      family=inet
      [[ $address != *:* ]] || family=inet6
      items+="{\"family\":\"$family\",\"local\":\"$address\",\"scope\":\"global\",\"temporary\":$temporary},"
    done
    echo '[{"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","scope":"host"}]},'
    items+='{"family":"inet6","local":"fe80::1","scope":"link"}'
    echo "{\"ifname\":\"eth0\",\"addr_info\":[$items]}]"
    ;;
esac
"""

# Remembers what it was told; is-active answers by files a test may create, enable makes a link as systemd's.
SYSTEMCTL_STUB = r"""#!/usr/bin/env bash
echo "$*" >>"$SLM_ROOT/systemctl.log"
case "$1" in
  is-active) [[ -e $SLM_ROOT/active-${*: -1} ]] ;;
  enable)
    wants=$SLM_ROOT/etc/systemd/system/multi-user.target.wants
    mkdir -p "$wants" && ln -sf /unit "$wants/${*: -1}"
    ;;
  start | restart) [[ ! -e $SLM_ROOT/broken-${*: -1} ]] && touch "$SLM_ROOT/active-${*: -1}" ;;
  show) echo 0 ;;
esac
"""

CPUINFO = """\
processor\t: 0
model name\t: Test CPU v4
flags\t\t: fpu sse sse2 ssse3 fma sse4_1 sse4_2 movbe popcnt avx f16c avx2 bmi1 bmi2
"""


def required(program: str) -> str:
    """The path of a program the tests can't do without; a missing one is an error, not a skip."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if found is None:
        pytest.fail(f"{program} is missing; `make setup` installs it")
    return found


@dataclass
class Guest:
    """A guest's file system in a folder, with the appliance's bash functions runnable on it."""

    root: Path
    stubs: Path
    environment: dict[str, str] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def write(self, name: str, text: str) -> Path:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def stub(self, name: str, text: str) -> None:
        path = self.stubs / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def run(
        self,
        script: str,
        *,
        check: bool = True,
        umask: int = 0o077,
        timeout: float = 60,
        **variables: str,
    ) -> subprocess.CompletedProcess[str]:
        """Source appliance.sh as one-apps does (set -e, umask 0077) and run `script`."""
        environment = {
            "PATH": f"{self.stubs}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "SLM_ROOT": str(self.root),
            "SLM_APPLIANCE_DIR": str(APPLIANCE),
            "LC_ALL": "C",
            "TZ": "UTC",
            **self.environment,
            **variables,
        }
        preamble = f'set -e\numask {umask:04o}\n. "$SLM_APPLIANCE_DIR/appliance.sh"\nset -o pipefail\n'
        result = subprocess.run(
            ["bash", "-c", preamble + script],
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and result.returncode != 0:
            pytest.fail(f"bash exited with {result.returncode}\n{script}\n--\n{result.stdout}{result.stderr}")
        return result

    def configure(self, *, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        """The configure stage as service.sh runs it: EXIT trap with service_cleanup, stderr into stdout."""
        return self.stage("configure", check=check, **variables)

    def bootstrap(self, *, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.stage("bootstrap", check=check, **variables)

    def stage(self, stage: str, *, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.run(
            f"trap 'set +e; service_cleanup' EXIT\nservice_{stage} 2>&1\nexit 0", check=check, **variables
        )

    def console(self) -> list[str]:
        return self.path("/dev/console").read_text(encoding="utf-8").splitlines()

    def told_systemctl(self) -> list[str]:
        log = self.path("/systemctl.log")
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    def forget_systemctl(self) -> None:
        self.path("/systemctl.log").unlink(missing_ok=True)


def build_guest(folder: Path, environment: Mapping[str, str] | None = None) -> Guest:
    """A guest as the image leaves it: flavor, model, nginx's configuration, a console, two CPUs, 2 GiB."""
    root, stubs = folder / "root", folder / "stubs"
    stubs.mkdir(parents=True)
    guest = Guest(root, stubs, {"FAKE_ADDRESSES": "10.0.2.15", **(environment or {})})
    guest.write("/opt/slm-copilot/flavor.env", FLAVOR)
    write_gguf(guest.path("/opt/slm-copilot/models/model.gguf"), SMALL_MODEL)
    guest.write("/dev/console", "")
    guest.write("/etc/motd", "")
    guest.write("/etc/one-appliance/status", "")
    guest.write("/proc/self/status", "Name:\tbash\nCpus_allowed_list:\t0-1\n")
    guest.write("/proc/cpuinfo", CPUINFO)
    guest.write("/proc/meminfo", "MemTotal:        2097152 kB\nMemFree:         1000000 kB\n")
    guest.write("/var/log/nginx/.keep", "")
    guest.write("/etc/nginx/sites-enabled/default", "server { listen 80; }\n")
    user = "user root;\n" if os.geteuid() == 0 else ""
    guest.write(
        "/etc/nginx/nginx.conf",
        f"""{user}worker_processes 1;
pid {root}/nginx.pid;
error_log {root}/var/log/nginx/error.log;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {root}/nginx-body;
    proxy_temp_path {root}/nginx-proxy;
    fastcgi_temp_path {root}/nginx-fastcgi;
    uwsgi_temp_path {root}/nginx-uwsgi;
    scgi_temp_path {root}/nginx-scgi;
    ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;
    gzip on;
    include {root}/etc/nginx/sites-enabled/*;
}}
""",
    )
    guest.stub("ip", IP_STUB)
    guest.stub("systemctl", SYSTEMCTL_STUB)
    guest.stub("uname", '#!/usr/bin/env bash\necho "${FAKE_HOSTNAME:-copilot}"\n')
    guest.stub("sync", "#!/bin/sh\n")  # the disk of a busy test host would cost minutes
    guest.stub("lscpu", "#!/usr/bin/env bash\nprintf '0,0,0\\n1,0,1\\n'\n")
    for program in ("nginx", "openssl", "jq", "curl"):
        required(program)
    return guest
