"""From measurements to verdicts and to words."""

from __future__ import annotations

from dataclasses import replace

import measured_sample as sample
import pytest

from harness.profiles import Profile, Targets, load_profiles
from harness.sizing.budget import Measurements, Speed, plan
from harness.sizing.measured import judge_sizing_run, judge_targets, profiles_carried
from harness.sizing.paragraph import answer, duration, profile_lines
from harness.sizing.shapes import find_model

PROFILES = list(load_profiles().values())
CARRIED = profiles_carried(sample.DEVSTRAL, sample.APPLIANCE, PROFILES)


def fitting(at_least: float) -> Profile:
    """A profile that the sample machine is as large as."""
    targets = Targets(sample.DEVSTRAL.name, at_least, 100)
    return Profile("fitting", vcpus=2, ram_mib=24 * 1024, disk_gib=40, targets=targets)


def test_what_a_model_costs_agrees_with_what_its_header_says() -> None:
    for key in ("devstral-24b-q4km", "qwen2.5-coder-3b-q4km"):
        shape, facts = find_model(key), sample.facts_of(find_model(key))
        assert (facts.weights_bytes, facts.parameters) == (shape.weight_bytes, shape.parameters)
        assert facts.kv_bytes_per_token() == 2 * shape.kv_elements()
        assert facts.tied_output == shape.tied_output


# ---- the verdict ----


@pytest.mark.parametrize(
    ("at_least", "conditions", "verdict", "reason"),
    [
        (1.0, sample.IDLE, "PASS", "is at least 1"),
        (3.0, sample.IDLE, "FAIL", "too low: at least 3 is wanted"),
        (1.93, sample.IDLE, "INCONCLUSIVE", "straddles"),
        (1.0, sample.BUSY, "INCONCLUSIVE", "others used 1.50 of its 2 cores"),
        (3.0, sample.BUSY, "INCONCLUSIVE", "others used 1.50 of its 2 cores"),
    ],
)
def test_a_target_is_judged_on_a_machine_of_its_size_that_nobody_else_uses(
    at_least: float, conditions: sample.Conditions, verdict: str, reason: str
) -> None:
    measured = sample.measured(conditions=conditions)
    carried = profiles_carried(sample.DEVSTRAL, sample.APPLIANCE, [fitting(at_least)])
    targets = judge_targets(measured, carried)
    run = judge_sizing_run(measured, targets)
    assert (targets[0].judged.verdict, run.verdict) == (verdict, verdict)
    assert reason in run.reason


def test_targets_of_larger_profiles_are_not_judged() -> None:
    measured = sample.measured()
    targets = judge_targets(measured, CARRIED)
    assert [target.profile.name for target in targets] == ["minimum", "recommended", "optimal"]
    assert {target.judged.verdict for target in targets} == {"INCONCLUSIVE"}
    run = judge_sizing_run(measured, targets)
    assert run.verdict == "INCONCLUSIVE"
    assert "minimum: this host has 2 of 8 cores" in run.reason


@pytest.mark.parametrize(("conditions", "verdict"), [(sample.IDLE, "PASS"), (sample.BUSY, "INCONCLUSIVE")])
def test_without_a_target_a_measurement_that_nobody_disturbed_passes(
    conditions: sample.Conditions, verdict: str
) -> None:
    measured = sample.measured(find_model("qwen2.5-coder-7b-q4km"), conditions=conditions)
    assert judge_targets(measured, CARRIED) == ()
    assert judge_sizing_run(measured, ()).verdict == verdict


# ---- the words ----


def test_the_answer_is_one_paragraph_that_says_all_of_it() -> None:
    measured = sample.measured()
    told = answer(measured, CARRIED, judge_targets(measured, CARRIED))
    assert "\n" not in told
    assert told == (
        "This machine (Test CPU, 2 CPUs, 23.5 GiB) holds Devstral Small 2 24B Q4_K_M with a context of up to "
        "29,184 tokens (55,040 with keys and values in q8_0), but is as large as none of the profiles that "
        "carry this model. "
        "It decodes 1.93 tokens/s (95 % interval 1.92 to 1.94, n = 5), 1.9 at a depth of 512 tokens, and "
        "reads prompts at 6.8 tokens/s (95 % interval 6.76 to 6.84, n = 5). "
        "A prompt of 4,096 tokens of which nothing is cached takes about 10 min before the first word of the "
        "answer. Clients that wait 5 minutes at most give up before that. "
        f"{measured.bottleneck} "
        "Reading prompts is computing, 303 billion operations a second here: more cores, or ones with wider "
        "vectors, make it faster. "
        "Profile minimum asks for 1 tokens/s or more: this machine is that fast, which decides nothing (this "
        "host has 2 of 8 cores). "
        "Profile recommended asks for 3 tokens/s or more: this machine is slower; all that its memory "
        "delivers would give 2.37, so that it is out of reach; with 16 such CPUs on the same memory it would "
        "be 1.92 to 13.9 (this host has 2 of 16 cores and 23.5 of 32 GiB). "
        "Profile optimal asks for 5 tokens/s or more: this machine is slower; all that its memory delivers "
        "would give 2.37, so that it is out of reach; with 32 such CPUs on the same memory it would be 1.92 "
        "to 27.1 (this host has 2 of 32 cores and 23.5 of 64 GiB)."
    )
    assert "memory bandwidth is the bottleneck" in measured.bottleneck


def test_the_time_of_a_cold_prompt_grows_faster_than_the_prompt() -> None:
    cold = sample.measured().cold_prompt()
    assert 4096 / 6.8 < cold.value < 1.1 * 4096 / 6.8
    assert cold.low < cold.value < cold.high


def test_a_disturbed_measurement_says_so() -> None:
    measured = sample.measured(conditions=sample.BUSY)
    assert answer(measured, CARRIED, ()).endswith(
        "These speeds are not this machine's own, measure again when it is idle: the host is oversubscribed: "
        "others used 1.50 of its 2 cores, at most 0.1 may be."
    )


def test_without_the_memorys_bandwidth_nothing_is_made_up() -> None:
    measured = replace(sample.measured(), bandwidth=None, bandwidth_note="not measured: no compiler")
    told = answer(measured, CARRIED, judge_targets(measured, CARRIED))
    assert "can't be said: the memory's bandwidth was not measured: no compiler." in told
    assert "what its memory would allow is not known" in told


def test_each_profile_is_a_line() -> None:
    minimum, _, optimal, ci = profile_lines(CARRIED)
    assert minimum == (
        "minimum: 8 vCPUs, 24 GiB: 26,880 tokens with f16 keys and values, 50,432 tokens with q8_0 keys and "
        "values; this host has 2 of 8 cores"
    )
    assert optimal.endswith("; this host has 2 of 32 cores and 23.5 of 64 GiB")
    assert ci == "ci: 2 vCPUs, 2 GiB: too little memory for this model"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.44, "0.4 s"),
        (59.6, "60 s"),
        (119, "119 s"),
        (615, "10 min"),
        (3599, "1 h 00 min"),
        (6000, "1 h 40 min"),
    ],
)
def test_durations_are_as_exact_as_an_estimate(seconds: float, told: str) -> None:
    assert duration(seconds) == told


# ---- the time ----


def test_a_large_model_is_measured_within_the_time() -> None:
    speed = Speed(decode=1.93, prefill=6.8)
    planned = plan(speed, 300, most_tokens=8256)
    assert planned == Measurements(generate=14, fewer_generate=7, prompt=128, depth=512, deep_generate=4)
    assert planned.seconds(speed) < 300


def test_a_small_model_gets_long_prompts_and_no_more_than_is_useful() -> None:
    planned = plan(Speed(decode=124, prefill=323), 300, most_tokens=8192)
    assert (planned.generate, planned.prompt, planned.depth) == (64, 512, 8192 - 4096)


@pytest.mark.parametrize("most_tokens", [16, 528, 8192])
def test_no_measurement_needs_more_context_than_there_is_room_for(most_tokens: int) -> None:
    for decode in (0.1, 10, 1000):
        planned = plan(Speed(decode, 10 * decode), 300, most_tokens=most_tokens)
        assert planned.depth + planned.deep_generate <= most_tokens
        assert planned.prompt <= most_tokens


def test_a_very_slow_machine_still_gets_the_least_that_says_anything() -> None:
    planned = plan(Speed(decode=0.01, prefill=0.01), 60, most_tokens=8192)
    assert (planned.generate, planned.fewer_generate, planned.prompt, planned.depth) == (2, 2, 16, 0)
