"""One list of parameters: YAML, bash, one-apps' array, help and the document say the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from bash_guest import Guest

from harness.locations import REPOSITORY
from harness.parameters import (
    BASH_TABLE,
    SOURCE,
    ParameterTableError,
    generated_files,
    load_parameters,
    main,
    render_markdown_table,
)

DOCUMENT = REPOSITORY / "docs" / "parameters.md"

DEFAULTS = {
    "ONEAPP_SLM_ADMIN_PASSWORD": "",
    "ONEAPP_SLM_CONTEXT_SIZE": "8192",
    "ONEAPP_SLM_THREADS": "0",
    "ONEAPP_SLM_TLS_MODE": "selfsigned",
    "ONEAPP_SLM_TLS_CERT": "",
    "ONEAPP_SLM_TLS_KEY": "",
    "ONEAPP_SLM_DOMAIN": "",
    "ONEAPP_SLM_ACME_DIRECTORY": "https://acme-v02.api.letsencrypt.org/directory",
    "ONEAPP_SLM_ACME_CA": "",
    "ONEAPP_SLM_CORS_ORIGINS": "*",
    "ONEAPP_SLM_MODEL_TEMPERATURE": "0.15",
    "ONEAPP_SLM_SECOND_MODEL": "",
}


def test_the_twelve_parameters_with_their_defaults() -> None:
    assert {parameter.name: parameter.default for parameter in load_parameters()} == DEFAULTS


def test_generated_files_are_up_to_date() -> None:
    for path, text in generated_files(load_parameters()).items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run python -m harness.parameters --write"


def test_bash_reads_the_same_as_python(guest: Guest) -> None:
    script = """
for name in "${SLM_PARAM_NAMES[@]}"; do
  for column in LABEL TYPE DEFAULT MINIMUM MAXIMUM CHOICES REFUSED SECRET STAGE INPUT ACCEPTED HELP; do
    declare -n values=SLM_PARAM_$column
    printf '%s|%s|%s\\n' "$name" "$column" "${values[$name]-}"
  done
done"""
    seen = guest.run(script).stdout.splitlines()
    wanted = []
    for p in load_parameters():
        columns = {
            "LABEL": p.label,
            "TYPE": p.kind,
            "DEFAULT": p.default,
            "MINIMUM": "" if p.minimum is None else str(p.minimum),
            "MAXIMUM": "" if p.maximum is None else str(p.maximum),
            "CHOICES": " ".join(p.choices),
            "REFUSED": " ".join(p.refused),
            "SECRET": str(p.secret).lower(),
            "STAGE": p.stage,
            "INPUT": p.input,
            "ACCEPTED": p.accepted,
            "HELP": p.help,
        }
        wanted += [f"{p.name}|{column}|{value}" for column, value in columns.items()]
    assert seen == wanted


def test_one_service_params_has_stride_four(guest: Guest) -> None:
    array = guest.run('printf "%s\\n" "${ONE_SERVICE_PARAMS[@]}"').stdout.splitlines()
    wanted = [field for p in load_parameters() for field in (p.name, p.stage, p.help, p.input)]
    assert array == wanted
    assert all(array[3::4]), "an empty fourth field means: not offered to the user"


def test_help_names_every_parameter_and_its_form(guest: Guest) -> None:
    text = guest.run("service_help").stdout
    for parameter in load_parameters():
        assert parameter.name in text
        assert parameter.accepted in text


def test_document_has_the_table_and_nothing_secret_has_a_default() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert render_markdown_table(load_parameters()) in document
    assert all(not p.default for p in load_parameters() if p.secret)


def test_every_kind_has_a_judge(guest: Guest) -> None:
    for kind in {p.kind for p in load_parameters()}:
        guest.run(f"declare -F problem_of_{kind}")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": "SLM_X"}, "ONEAPP_SLM_"),
        ({"default": 3}, "'default' must be a string"),
        ({"surprise": 1}, "unknown key 'surprise'"),
        ({"type": "colour"}, "type 'colour'"),
        ({"stage": "runtime"}, "stage 'runtime'"),
        ({"input": "text"}, "'input'"),
        ({"default": "999999999"}, "out of range"),
        ({"minimum": None}, "needs minimum and maximum"),
        ({"secret": "no"}, "'secret' must be true or false"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, change: dict[str, object], complaint: str) -> None:
    document = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
    document["parameters"][1].update(change)
    path = tmp_path / "parameters.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(ParameterTableError, match=complaint):
        load_parameters(path)


def test_a_name_declared_twice_is_refused(tmp_path: Path) -> None:
    document = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
    document["parameters"].append(document["parameters"][0])
    path = tmp_path / "parameters.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(ParameterTableError, match="declared twice"):
        load_parameters(path)


def test_the_command_says_when_a_file_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "parameter_table.sh"
    table.write_text(BASH_TABLE.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")
    monkeypatch.setattr("harness.parameters.BASH_TABLE", table)
    monkeypatch.setattr("harness.parameters.REPOSITORY", tmp_path)
    document = _copy(DOCUMENT, tmp_path)
    monkeypatch.setattr("harness.parameters.documents", lambda: [document])
    assert main([]) == 1
    assert "--write" in capsys.readouterr().err
    assert main(["--write"]) == 0
    assert main([]) == 0
    assert table.read_text(encoding="utf-8") == BASH_TABLE.read_text(encoding="utf-8")


def _copy(source: Path, folder: Path) -> Path:
    target = folder / source.name
    target.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    return target
