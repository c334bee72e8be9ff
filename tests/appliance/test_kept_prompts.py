"""What the engine has read survives its restart; what isn't whole, or isn't its own, is thrown away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bash_guest import Guest
from remembering_engine import TOKEN_BYTES, RememberingEngine, remembering_engine

FOLDER = "/var/lib/slm-engine"
TALK = tuple(range(1000, 1300))
OTHER = tuple(range(5000, 5280))


@pytest.fixture
def engine(guest: Guest) -> Iterator[RememberingEngine]:
    for name in ("llama-server", "libllama.so.0"):
        guest.write(f"/opt/slm-copilot/engine/{name}", "")
    guest.write("/proc/uptime", "1000.00 0.00\n")
    with remembering_engine(guest.path(FOLDER)) as running:
        yield running


def kept_prompts(guest: Guest, engine: RememberingEngine, what: str, **variables: str) -> str:
    """What `kept-prompts save` or `load` does; both must not fail, whatever they meet."""
    step = {"save": "keep_prompts", "load": "load_prompts"}[what]
    result = guest.run(
        f"load_flavor; resolve_model; {step}",
        SLM_ENGINE_PORT=str(engine.port),
        **{"SLM_KEPT_PROMPTS_MIB": "64", "LLAMA_ARG_CTX_SIZE": "8192", **variables},
    )
    return result.stdout


def files(engine: RememberingEngine) -> list[Path]:
    return sorted(engine.folder.iterdir(), key=lambda path: path.stat().st_mtime)


def restart(engine: RememberingEngine) -> None:
    engine.slots.clear()
    engine.asked.clear()


def test_what_idle_clients_had_read_is_there_after_a_restart(guest: Guest, engine: RememberingEngine) -> None:
    engine.slots = {1: TALK, 2: OTHER, 3: (7,) * 300}
    engine.busy = {3}
    kept_prompts(guest, engine, "save")
    assert [path.name.split(".")[0] for path in files(engine)] == ["prompt", "prompt"]
    restart(engine)
    assert kept_prompts(guest, engine, "load") == "2 kept prompts loaded\n"
    assert set(engine.slots.values()) == {TALK, OTHER}
    assert len(files(engine)) == 2, "a power cut now would lose them"


def test_a_short_prompt_is_not_worth_a_file(guest: Guest, engine: RememberingEngine) -> None:
    engine.slots = {0: (5,) * 255}
    kept_prompts(guest, engine, "save")
    assert files(engine) == []


def test_a_file_that_is_damaged_or_not_its_own_is_thrown_away_unread(
    guest: Guest, engine: RememberingEngine
) -> None:
    engine.slots = {0: TALK}
    kept_prompts(guest, engine, "save")
    [whole] = files(engine)
    content = whole.read_bytes()
    restart(engine)
    left = {}
    for damage in ("cut short", "one bit", "longer"):
        changed = bytearray(content)
        changed[len(content) // 2] ^= 1 if damage == "one bit" else 0
        whole.write_bytes({"cut short": content[:-1], "longer": content + b"\0"}.get(damage, bytes(changed)))
        said = kept_prompts(guest, engine, "load")
        left[damage] = (said, files(engine))
    assert engine.asked == [], "the engine was given a damaged file"
    for damage, (said, remaining) in left.items():
        assert said == "a kept prompt is damaged and was thrown away\n0 kept prompts loaded\n", damage
        assert remaining == [], damage
    (engine.folder / "unfinished.0").write_bytes(content)
    (engine.folder / "loading.0").write_bytes(content)
    (engine.folder / "folder").mkdir()
    whole.write_bytes(content)
    kept_prompts(guest, engine, "load", LLAMA_ARG_CTX_SIZE="4096")
    assert (engine.asked, files(engine)) == ([], []), "another context's state was used"
    whole.write_bytes(content)
    guest.write("/opt/slm-copilot/engine/libllama.so.0", "a later version")
    kept_prompts(guest, engine, "load")
    assert (engine.asked, files(engine)) == ([], []), "another engine's state was used"


def test_the_limit_holds_and_the_oldest_goes_first(guest: Guest, engine: RememberingEngine) -> None:
    engine.slots = {0: TALK, 1: OTHER, 2: tuple(range(9000, 10000))}
    mib = (len(TALK) + len(OTHER)) * TOKEN_BYTES // 2**20  # without the headers: room for one of the two
    kept_prompts(guest, engine, "save", SLM_KEPT_PROMPTS_MIB=str(mib))
    assert engine.asked == ["save", "save"], "what can't fit was written"
    [only] = files(engine)
    restart(engine)
    kept_prompts(guest, engine, "load", SLM_KEPT_PROMPTS_MIB=str(mib))
    assert list(engine.slots.values()) == [OTHER]
    assert only.stat().st_size <= mib * 2**20


def test_only_what_fits_into_the_context_is_loaded(guest: Guest, engine: RememberingEngine) -> None:
    engine.slots = {0: TALK, 1: OTHER}
    kept_prompts(guest, engine, "save", LLAMA_ARG_CTX_SIZE="512")
    restart(engine)
    kept_prompts(guest, engine, "load", LLAMA_ARG_CTX_SIZE="512")
    assert list(engine.slots.values()) == [OTHER]
    assert len(files(engine)) == 2, "what may fit next time was thrown away"


def test_a_file_that_the_engine_refuses_stays(guest: Guest, engine: RememberingEngine) -> None:
    engine.slots = {0: TALK}
    kept_prompts(guest, engine, "save")
    restart(engine)
    engine.refuses = True
    assert kept_prompts(guest, engine, "load") == "0 kept prompts loaded\n"
    engine.refuses = False
    kept_prompts(guest, engine, "load")
    assert list(engine.slots.values()) == [TALK]


def test_nothing_is_kept_where_the_administrator_says_so(guest: Guest, engine: RememberingEngine) -> None:
    engine.slots = {0: TALK}
    kept_prompts(guest, engine, "save")
    assert len(files(engine)) == 1
    kept_prompts(guest, engine, "load", SLM_KEPT_PROMPTS_MIB="0")
    assert files(engine) == [], "what was kept before is still there"
    kept_prompts(guest, engine, "save", SLM_KEPT_PROMPTS_MIB="0")
    assert files(engine) == []


def test_a_later_turn_takes_the_place_of_the_earlier_one(guest: Guest, engine: RememberingEngine) -> None:
    engine.slots = {0: TALK, 1: OTHER}
    kept_prompts(guest, engine, "save")
    engine.slots = {0: (*TALK[:-2], 4, 5, 6)}
    kept_prompts(guest, engine, "save")
    restart(engine)
    kept_prompts(guest, engine, "load")
    assert sorted(engine.slots.values()) == [(*TALK[:-2], 4, 5, 6), OTHER]


def test_an_engine_that_dies_of_a_file_is_not_given_it_again(guest: Guest, engine: RememberingEngine) -> None:
    engine.slots = {0: TALK}
    kept_prompts(guest, engine, "save")
    restart(engine)
    engine.dies = True
    kept_prompts(guest, engine, "load")
    engine.dies = False
    kept_prompts(guest, engine, "load")
    assert engine.asked == ["restore"]


def test_a_full_disk_leaves_no_half_file(guest: Guest, engine: RememberingEngine) -> None:
    engine.slots, engine.full_disk = {0: TALK}, True
    kept_prompts(guest, engine, "save")
    assert (engine.asked, files(engine)) == (["save"], [])


@pytest.mark.timing
def test_an_engine_that_does_not_answer_is_not_waited_for(guest: Guest, engine: RememberingEngine) -> None:
    engine.slots, engine.hangs = {0: TALK, 1: OTHER}, True
    started = time.monotonic()
    kept_prompts(guest, engine, "save", SLM_KEPT_SAVE_S="1")
    assert time.monotonic() - started < 8
    assert files(engine) == []


def test_a_start_with_nothing_kept_loads_nothing(guest: Guest, engine: RememberingEngine) -> None:
    asked = "prompts_are_kept && echo something || echo nothing"
    assert guest.run(asked).stdout == "nothing\n"
    engine.slots = {0: TALK}
    kept_prompts(guest, engine, "save")
    assert guest.run(asked).stdout == "something\n"
