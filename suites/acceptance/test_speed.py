"""How fast the appliance answers whoever asks it from here."""

from __future__ import annotations

from harness.bench.statistics import PAIRED_FORMULA, median_interval, ratio_interval
from harness.bench.timeline import FORMULAS
from harness.bench.verdict import Judged, doubts_of_model, judge
from harness.client.https import ApplianceAddress
from harness.profiles import Profile
from suites.acceptance.conftest import APPLIANCE, Accepted, is_near
from suites.acceptance.short_plan import ShortPlan
from suites.benchmark.recording import MEASURED_ONLY, Recorder

HIGHER = ("decode_speed", "prefill_speed", "cache_share")


def test_every_request_is_answered(accepted: Accepted) -> None:
    assert not accepted.campaign.failures, (
        f"{len(accepted.campaign.failures)}: {accepted.campaign.failures[:5]}"
    )
    assert accepted.prompt_tokens, f"nothing was measured: {accepted.left_out}"


def test_every_series_is_recorded_with_its_interval(
    accepted: Accepted, values: Recorder, plan: ShortPlan
) -> None:
    short = []
    for name, unit, labels, rounds in accepted.campaign.series():
        if labels["prompt_tokens"] not in accepted.prompt_tokens:
            continue
        if len(rounds) < plan.rounds:
            short.append(f"{name} {labels}: {len(rounds)} of {plan.rounds} rounds")
        each = [row for _, row in sorted(rounds.items())]
        formula = FORMULAS.get(name, "")
        if name == "itl":
            values.percentiles(name, unit, each, labels=labels, formula=formula)
        else:
            better = "higher" if name in HIGHER else "lower"
            samples = [row[0] for row in each]
            values.median(name, unit, samples, labels=labels, better=better, formula=formula)
    assert not short, f"not measured in every round: {short}"


def test_the_way_to_the_appliance_is_recorded(accepted: Accepted, values: Recorder) -> None:
    for name, samples in (("connect", accepted.connect_s), ("tls_handshake", accepted.tls_s)):
        assert all(one > 0 for one in samples), f"{name}: {samples}"
        values.median(name, "s", samples, labels={"path": APPLIANCE}, better="lower")


def test_decoding_reaches_what_the_profile_promises(
    accepted: Accepted, values: Recorder, profile: Profile | None, appliance: ApplianceAddress
) -> None:
    labels = {
        "path": APPLIANCE,
        "prompt_tokens": min(accepted.prompt_tokens),
        "state": "cold",
        "clients": 1,
    }
    samples = accepted.campaign.samples("decode_speed", **labels, clock="client")
    interval = median_interval(samples)
    targets = profile.targets if profile else None
    judged = Judged("INCONCLUSIVE", f"no profile with a target was named: {MEASURED_ONLY}")
    if targets is not None:
        doubts = doubts_of_model(targets.model, appliance.model)
        judged = judge(interval, at_least=targets.decode_min, doubts=doubts)
    values.record(
        "sizing_decode_speed", "tok/s", interval.value,
        n=interval.n, ci_low=interval.low, ci_high=interval.high,
        target=targets.decode_min if targets else None, verdict=judged.verdict, reason=judged.reason,
        labels=labels, samples=samples, better="higher", formula=FORMULAS["decode_speed"],
    )  # fmt: skip
    assert judged.verdict != "FAIL", judged.reason


def test_a_prompt_that_was_read_before_starts_sooner(
    accepted: Accepted, values: Recorder, plan: ShortPlan
) -> None:
    """The longest prompt tells best; a short one, or one behind a long way, tells nothing of the cache."""
    size = max(accepted.prompt_tokens)
    labels = {"path": APPLIANCE, "prompt_tokens": size, "clients": 1}
    warm, cold = accepted.campaign.pairs(
        ("ttft", {**labels, "state": "warm"}), ("ttft", {**labels, "state": "cold"})
    )
    telling = size >= plan.cached_from and is_near(accepted, cold, plan.network_share)
    judged = values.interval(
        "warm_ttft_ratio", "ratio", ratio_interval(warm, cold, paired=True),
        [one / other for one, other in zip(warm, cold, strict=True)],
        labels=labels, better="lower", formula=PAIRED_FORMULA,
        bound=plan.targets["warm_ttft_ratio"] if telling else None,
    )  # fmt: skip
    assert judged.verdict != "FAIL", f"{size} tokens: {judged.reason}"
