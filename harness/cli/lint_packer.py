"""What real Packer can say of the templates with each flavor's variables, with and without its QEMU plugin.

Without the plugin Packer refuses a template that names it. All else of such a template is still looked at:
its variables with their types and conditions, the flavor's values, and every expression of the source, put
into a template of the same variables whose source is Packer's built-in one.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.image.flavor import FLAVORS_FOLDER, known_flavors
from harness.image.packer import TEMPLATE, TEMPLATE_BOOTED, make_build_key

PASSED: Mapping[Path, Mapping[str, str]] = {
    TEMPLATE: {
        "base_image": "/base.qcow2",
        "base_sha256": "0" * 64,
        "staging_iso": "/staging.iso",
        "output_directory": "/output",
        "accelerator": "tcg",
        "ssh_private_key_file": "/build_key",
        "ssh_public_key_base64": "QQ==",
        "serial_log": "/serial.log",
        "package_list": "/packages.txt",
    },
    TEMPLATE_BOOTED: {
        "ssh_port": "22",
        "ssh_private_key_file": "/build_key",
        "ssh_timeout": "5m",
        "package_list": "/packages.txt",
    },
}
"""What a build gives with -var, by template."""

Run = Callable[[Sequence[str], Mapping[str, str]], None]
"""Runs a command with additions to the environment; raises when it complains."""

_VARIABLE = re.compile(r'^variable "\w+" \{\n.*?^\}\n', re.M | re.S)
_SOURCE = re.compile(r'^source "qemu" "\w+" \{\n(.*?)^\}\n', re.M | re.S)
_BLOCK = re.compile(r"^(\s+\w+) \{$", re.M)


def validate_templates(packer: str, run: Run, plugins: Path | None) -> None:
    """Have Packer validate both templates with every flavor; `plugins` is the folder of its QEMU plugin, None
    where there is none."""
    with tempfile.TemporaryDirectory(prefix="slm-lint-") as made:
        folder = Path(made)
        private = {"PACKER_CONFIG_DIR": made, "PACKER_CACHE_DIR": made, "CHECKPOINT_DISABLE": "1"}
        # Packer reads it.
        own = {"ssh_private_key_file": str(make_build_key(folder))}
        without = {**private, "PACKER_PLUGIN_PATH": str(folder / "none")}
        run(_command(packer, TEMPLATE_BOOTED, TEMPLATE_BOOTED, own), without)
        for name in known_flavors():
            variables = f"-var-file={FLAVORS_FOLDER / f'{name}.pkrvars.json'}"
            if plugins is not None:
                command = _command(packer, TEMPLATE, TEMPLATE, own, variables)
                run(command, {**private, "PACKER_PLUGIN_PATH": str(plugins)})
                continue
            stripped = folder / "without-plugin.pkr.hcl"
            stripped.write_text(without_plugin(TEMPLATE.read_text(encoding="utf-8")), encoding="utf-8")
            run(_command(packer, stripped, TEMPLATE, own, variables), without)


def without_plugin(template: str) -> str:
    """The template's variables, and its QEMU source's settings as a local value that Packer computes."""
    variables = "\n".join(_VARIABLE.findall(template))
    (source,) = _SOURCE.findall(template)
    settings = _BLOCK.sub(r"\1 = {", source)
    return (
        f"{variables}\nlocals {{\n  source = {{\n{settings}  }}\n}}\n\n"
        'source "null" "appliance" {\n  communicator = "none"\n}\n\n'
        'build {\n  name    = "${length(local.source)} settings"\n  sources = ["source.null.appliance"]\n}\n'
    )


def _command(packer: str, file: Path, template: Path, own: Mapping[str, str], *options: str) -> list[str]:
    given = {**PASSED[template], **own}
    return [
        packer,
        "validate",
        *options,
        *(f"-var={name}={value}" for name, value in given.items()),
        str(file),
    ]
