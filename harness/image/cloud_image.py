"""What a published cloud image is told when it is booted to be provisioned: who may log in, what to become.

Both lie on the staging disk. cloud-init finds its part there because of the disk's label (its data source
NoCloud: user-data and meta-data in the root of a disk labelled CIDATA); base.env is for the provisioning
script 05-cloud-image.sh.
"""

from __future__ import annotations

import json
import os
import shlex

from harness.errors import HarnessError
from harness.image.base_definition import CloudImage

MIRROR_VARIABLE = "SLM_APT_MIRROR"
"""Environment variable: the address of a mirror that the guest installs its packages from."""


def render_seed(public_key: str) -> dict[str, str]:
    """cloud-init's files by their names: root gets in with this key, and nobody with a password."""
    settings = {
        "disable_root": False,
        "ssh_pwauth": False,
        "users": [{"name": "root", "lock_passwd": True, "ssh_authorized_keys": [public_key.strip()]}],
        "package_update": False,
        "package_upgrade": False,
    }
    # JSON is YAML, and quotes whatever needs it.
    return {
        "user-data": f"#cloud-config\n{json.dumps(settings, indent=2)}\n",
        "meta-data": json.dumps({"instance-id": "slm-copilot-build", "local-hostname": "slm-copilot"}) + "\n",
    }


def render_base_env(base: CloudImage) -> str:
    """base.env: lines that bash can source. Raises HarnessError for a mirror that is no address."""
    values = {
        "BASE_PACKAGES": " ".join(base.packages),
        "BASE_PURGE": " ".join(base.purge),
        "BASE_DISABLE_UNITS": " ".join(base.disable_units),
        "BASE_MASK_UNITS": " ".join(base.mask_units),
        "BASE_VERSIONS": " ".join(f"{package}={version}" for package, version in base.versions.items()),
        "BASE_MIRROR": _mirror(),
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def _mirror() -> str:
    mirror = os.environ.get(MIRROR_VARIABLE, "").strip()
    if mirror and (not mirror.startswith(("http://", "https://")) or len(mirror.split()) != 1):
        raise HarnessError(f"{MIRROR_VARIABLE} is not the http(s) address of a mirror")
    return mirror
