"""The answer in plain words: one paragraph, and a line for each profile."""

from __future__ import annotations

from collections.abc import Sequence

from harness.bench.roofline import prefill_gflops
from harness.bench.statistics import Interval, median
from harness.sizing.measured import Measured, Target
from harness.sizing.memory import KV_TYPES, Carried, largest_context


def answer(measured: Measured, profiles: Sequence[Carried], targets: Sequence[Target]) -> str:
    """What this machine does with the model, how fast, and why not faster."""
    sentences = [
        _carries(measured, profiles),
        _speeds(measured),
        _cold(measured),
        _held_up(measured),
        *_reachable(measured, targets),
        _disturbed(measured),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def profile_lines(profiles: Sequence[Carried]) -> list[str]:
    """For each profile: the largest context for each type of keys and values, and whether it runs here."""
    lines = []
    for one in profiles:
        profile = one.profile
        size = f"{profile.name}: {profile.vcpus} vCPUs, {profile.ram_mib / 1024:g} GiB"
        if not any(one.contexts.values()):
            lines.append(f"{size}: too little memory for this model")
            continue
        contexts = ", ".join(f"{one.contexts[kv]:,} tokens with {kv} keys and values" for kv in KV_TYPES)
        lines.append(f"{size}: {contexts}; " + (one.lacking or "this machine is as large"))
    return lines


def duration(seconds: float) -> str:
    """`0.4 s`, `85 s`, `10 min`, `1 h 40 min`: as exact as an estimate is."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def speed(interval: Interval) -> str:
    """`1.93 tokens/s (95 % interval 1.91 to 1.95, n = 5)`."""
    value, low, high = (_three_digits(one) for one in (interval.value, interval.low, interval.high))
    return f"{value} tokens/s (95 % interval {low} to {high}, n = {interval.n})"


def _carries(measured: Measured, profiles: Sequence[Carried]) -> str:
    shape, appliance = measured.shape, measured.appliance
    cpus = appliance.prefill_threads
    machine = (
        f"This machine ({measured.conditions.cpu}, {cpus} CPU{'s' if cpus != 1 else ''}, "
        f"{appliance.memory_kib / 1048576:.1f} GiB)"
    )
    contexts = {kv: largest_context(shape, kv, appliance.memory_kib, appliance.reserves) for kv in KV_TYPES}
    if contexts["q8_0"] < appliance.smallest_context:
        return f"{machine} has too little memory to serve {shape.name}."
    told = (
        f"{machine} holds {shape.name} with a context of up to {max(contexts['f16'], 0):,} tokens "
        f"({contexts['q8_0']:,} with keys and values in q8_0)"
    )
    here = [one.profile.name for one in profiles if one.runs_here]
    if here:
        return f"{told} and is as large as profile {' and '.join(here)}."
    return f"{told}, but is as large as none of the profiles that carry this model."


def _disturbed(measured: Measured) -> str:
    if not measured.busy:
        return ""
    return (
        f"These speeds are not this machine's own, measure again when it is idle: {'; '.join(measured.busy)}."
    )


def _speeds(measured: Measured) -> str:
    told = f"It decodes {speed(measured.decode_speed)}"
    if measured.deep is not None:
        deep = _three_digits(median(measured.deep.tokens_per_s))
        told += f", {deep} at a depth of {measured.deep.question.depth} tokens,"
    return f"{told} and reads prompts at {speed(measured.prefill_speed)}."


def _cold(measured: Measured) -> str:
    seconds = measured.cold_prompt()
    between = f"{duration(seconds.low)} to {duration(seconds.high)}"
    about = duration(seconds.value)
    spread = "" if between == f"{about} to {about}" else f" ({between})"
    told = (
        f"A prompt of {measured.cold_tokens:,} tokens of which nothing is cached takes about "
        f"{about}{spread} before the first word of the answer."
    )
    if seconds.value > 300:
        told += " Clients that wait 5 minutes at most give up before that."
    return told


def _held_up(measured: Measured) -> str:
    flops = prefill_gflops(measured.facts, measured.prefill_speed.value, measured.prefill.question.prompt)
    return (
        f"{measured.bottleneck} Reading prompts is computing, {flops:,.0f} billion operations a second "
        "here: more cores, or ones with wider vectors, make it faster."
    )


def _reachable(measured: Measured, targets: Sequence[Target]) -> list[str]:
    sentences = []
    for target in targets:
        head = f"Profile {target.profile.name} asks for {target.at_least:g} tokens/s or more:"
        match target.judged.verdict:
            case "PASS":
                sentences.append(f"{head} kept here.")
            case "FAIL":
                sentences.append(f"{head} missed here; {_at_best(measured, target)}.")
            case _:
                sentences.append(f"{head} {_could(measured, target)} ({target.judged.reason}).")
    return sentences


def _could(measured: Measured, target: Target) -> str:
    if measured.decode_speed.low >= target.at_least:
        return "this machine is that fast, which decides nothing"
    return f"this machine is slower; {_at_best(measured, target)}"


def _at_best(measured: Measured, target: Target) -> str:
    """Whether it could ever be reached: with this machine's memory, and with the CPUs of the profile."""
    ceiling = measured.ceiling()
    predicted = measured.predict(target.profile.vcpus)
    if ceiling is None or predicted is None:
        return "what its memory would allow is not known"
    told = f"all that its memory delivers would give {_three_digits(ceiling.tok_s.value)}"
    if ceiling.tok_s.high >= target.at_least:
        return f"{told}, so that it is not out of reach"
    told += ", so that it is out of reach"
    if predicted.threads == measured.decode.question.threads:
        return told
    bracket = f"{_three_digits(predicted.at_least)} to {_three_digits(predicted.at_most)}"
    return f"{told}; with {predicted.threads} such CPUs on the same memory it would be {bracket}"


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
