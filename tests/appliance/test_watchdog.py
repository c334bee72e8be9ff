"""The watchdog gives up an engine that is hung, and no other. Time is played: `sleep` moves /proc/uptime."""

from __future__ import annotations

import socket

import pytest
from bash_guest import Guest
from moody_engine import Mood, moody_engine

READY = "/run/slm-copilot/ready.json"

SLEEP = r"""#!/usr/bin/env bash
read -r uptime _ <"$SLM_ROOT/proc/uptime"
now=${uptime/./}
echo "$((now / 100 + ${1%%.*})).00 0.00" >"$SLM_ROOT/proc/uptime"
exec /bin/sleep 0.02
"""

# A killed engine is started by systemd and is ready at once; what was true at that moment is noted.
SYSTEMCTL = r"""#!/usr/bin/env bash
echo "$*" >>"$SLM_ROOT/systemctl.log"
if [[ $1 == kill ]]; then
  ready=$SLM_ROOT/run/slm-copilot/ready.json
  [[ ! -e $ready ]] || echo 'ready.json was still there' >>"$SLM_ROOT/systemctl.log"
  touch "$ready"
fi
"""

KILL = "kill --signal=KILL slm-engine.service"


@pytest.fixture
def watched(guest: Guest) -> Guest:
    guest.write(READY, "{}\n")
    guest.write("/proc/uptime", "1000.00 0.00\n")
    guest.stub("sleep", SLEEP)
    guest.stub("systemctl", SYSTEMCTL)
    return guest


def look(guest: Guest, port: int, times: int, **variables: str) -> str:
    """Let the watchdog look this often; what it said. 20 s pass between two looks."""
    script = f"""load_flavor; WATCHED_PROGRESS='' WATCHED_IDLE_S=0
    for ((i = 0; i < {times}; i++)); do look_after_engine; sleep "$SLM_WATCHDOG_LOOK_S"; done"""
    result = guest.run(script, SLM_ENGINE_PORT=str(port), **variables)
    return result.stdout + result.stderr


def elapsed_s(guest: Guest) -> float:
    return float(guest.path("/proc/uptime").read_text().split()[0]) - 1000


def test_a_healthy_engine_is_asked_now_and_then_only(watched: Guest) -> None:
    with moody_engine("healthy") as engine:
        assert look(watched, engine.port, 70) == ""
    assert watched.told_systemctl() == []
    assert engine.asked == 2, "in 23 minutes without work it answers two completions"


def test_what_an_idle_client_had_read_is_kept_before_a_completion_displaces_it(watched: Guest) -> None:
    with moody_engine("healthy") as engine:
        engine.remembers = 3000
        look(watched, engine.port, 20)
        assert watched.told_systemctl() == []
        look(watched, engine.port, 35)
        assert (watched.told_systemctl(), engine.asked) == (["reload slm-engine.service"], 1)


def test_an_engine_that_serves_others_is_asked_nothing(watched: Guest) -> None:
    with moody_engine("served") as engine:
        assert look(watched, engine.port, 40) == ""
    assert watched.told_systemctl() == []
    assert engine.asked == 0


def test_a_prompt_that_is_read_for_ten_minutes_is_no_hang(watched: Guest) -> None:
    with moody_engine("prefill") as engine:
        assert look(watched, engine.port, 40) == ""
    assert elapsed_s(watched) > 600
    assert watched.told_systemctl() == []


def test_a_completion_that_waits_behind_a_long_prompt_is_no_hang(watched: Guest) -> None:
    """The counters stood still between two looks, and only then go on."""
    with moody_engine("hung") as engine:
        engine.looks = -10
        original = engine.slots

        def slots() -> list[dict[str, object]]:
            if engine.looks > -8:
                engine.mood = "queued"
            return original()

        engine.slots = slots  # type: ignore[method-assign]
        assert look(watched, engine.port, 6) == ""
    assert engine.asked >= 1
    assert watched.told_systemctl() == []


@pytest.mark.parametrize("mood", ["hung", "broken", "hung idle"])
def test_an_engine_without_completion_and_progress_is_killed(watched: Guest, mood: Mood) -> None:
    with moody_engine(mood) as engine:
        said = look(watched, engine.port, 2, SLM_WATCHDOG_IDLE_S="0")
    assert KILL in watched.told_systemctl()
    assert "<4>the engine hangs: no completion and no progress for 120 s" in said
    assert "<5>the engine answers again" in said


def test_a_hung_engine_is_given_up_after_the_limit_not_before(watched: Guest) -> None:
    with moody_engine("hung") as engine:
        look(watched, engine.port, 1, SLM_WATCHDOG_LIMIT_S="3600")
        assert watched.told_systemctl() == []
        look(watched, engine.port, 2)
    assert 120 <= elapsed_s(watched) - 20 <= 200


def test_readiness_is_taken_back_before_the_engine_is_killed(watched: Guest) -> None:
    with moody_engine("hung") as engine:
        look(watched, engine.port, 2)
    assert watched.told_systemctl() == [KILL]


def test_a_stopped_process_is_hung(watched: Guest) -> None:
    with moody_engine("silent") as engine:
        look(watched, engine.port, 1, SLM_WATCHDOG_LIMIT_S="5")
    assert watched.told_systemctl() == [KILL]


def test_an_engine_that_lives_but_listens_no_more_is_hung(watched: Guest) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    look(watched, port, 1)
    assert watched.told_systemctl() == [KILL]


def test_an_engine_that_is_starting_or_stopped_is_left_alone(watched: Guest) -> None:
    watched.path(READY).unlink()
    with moody_engine("hung") as engine:
        assert look(watched, engine.port, 20) == ""
    assert (engine.looks, engine.asked) == (0, 0)
    assert watched.told_systemctl() == []


def test_a_clock_that_jumps_gives_nobody_up(watched: Guest) -> None:
    """An hour passes in one round: the machine was paused, or the host had no time for it."""
    watched.stub("sleep", SLEEP.replace("${1%%.*}", "3600"))
    with moody_engine("queued") as engine:
        original = engine.slots
        engine.mood = "hung"

        def slots() -> list[dict[str, object]]:
            if engine.looks > 4:
                engine.mood = "queued"
            return original()

        engine.slots = slots  # type: ignore[method-assign]
        assert look(watched, engine.port, 3) == ""
    assert watched.told_systemctl() == []


def test_an_engine_that_stays_away_is_told_once_and_watched_on(watched: Guest) -> None:
    watched.stub("systemctl", '#!/usr/bin/env bash\necho "$*" >>"$SLM_ROOT/systemctl.log"\n')
    with moody_engine("hung") as engine:
        said = look(watched, engine.port, 2, SLM_WATCHDOG_RESTART_S="0")
    assert "<3>the engine has not come back" in said
    assert watched.told_systemctl() == [KILL]


def test_nothing_of_what_clients_ask_is_in_the_progress(watched: Guest) -> None:
    with moody_engine("hung") as engine:
        said = watched.run("load_flavor; engine_progress", SLM_ENGINE_PORT=str(engine.port)).stdout
    assert said.split() == ["busy", "7", "0", "0"]
