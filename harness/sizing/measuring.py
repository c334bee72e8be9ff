"""Times a model's file on this machine: a rough try first, then what fits into the time."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from harness.bench.bandwidth import Bandwidth, combined, measure_bandwidth, thread_steps
from harness.bench.conditions import measured_window
from harness.bench.gguf_facts import ModelFacts, model_facts
from harness.bench.gguf_header import parse_header
from harness.bench.roofline import ceiling
from harness.bench.shell import run_on_host
from harness.errors import HarnessError
from harness.sizing.appliance_rules import Appliance
from harness.sizing.budget import REPETITIONS, Measurements, Speed, plan
from harness.sizing.gguf_header import file_bytes, header_of
from harness.sizing.llama_bench import Question, Timed, time_model
from harness.sizing.measured import Measured
from harness.sizing.shapes import ModelShape
from harness.terminal import Step, format_seconds, say, step

_ROUGH_PROMPT, _ROUGH_GENERATED = 32, 3
_ROUGH_DEADLINE_S = 1200.0

_WORTH_A_WARNING = 0.1
"""Share of the cores that others keep busy."""

_PATIENCE = 6.0
"""A measurement may take so many times what was planned for all of them together."""
_LOADING_S = 300.0
"""Seconds that loading the model may take beside."""


def measure(
    shape: ModelShape,
    appliance: Appliance,
    engine: Path,
    model: Path,
    *,
    seconds: float,
    most_tokens: int,
    log: Path,
) -> Measured:
    """Measure `model`, a file of this shape, for about so many seconds beside the loading.

    Raises HarnessError when the engine fails or reads another model out of the file than was meant.
    """

    def timed(question: Question, deadline_s: float) -> Timed:
        answer = time_model(engine, model, question, log=log, deadline_s=deadline_s)
        if (answer.model_bytes, answer.parameters) != (shape.weight_bytes, shape.parameters):
            raise HarnessError(
                f"the engine found {answer.parameters:,} parameters in {answer.model_bytes:,} bytes, "
                f"{shape.key} has {shape.parameters:,} in {shape.weight_bytes:,}"
            )
        return answer

    facts = facts_of(shape)
    with step("Try how fast this machine is, roughly") as rough, measured_window() as first:
        speed = _rough_speed(appliance, timed)
        rough.note(f"about {speed.decode:.3g} tokens/s decoded, {speed.prefill:.3g} read")
    if first.conditions.others_cores > _WORTH_A_WARNING * first.conditions.cores:
        say(
            f"others keep {first.conditions.others_cores:.1f} cores busy: this will be slow, and too slow",
            "yellow",
        )
    planned = plan(speed, seconds, most_tokens=most_tokens)
    deadline_s = _PATIENCE * planned.seconds(speed) + _LOADING_S
    answers: dict[str, Timed] = {}
    with step("Measure") as measuring, measured_window() as window:
        measuring.note(f"about {format_seconds(planned.seconds(speed))} beside loading the model")
        probe = _Probe(facts, appliance)
        probe.measure(measuring)
        questions = list(_questions(planned, appliance).items())
        # What warms the machine up, or runs beside us for a while, must not always meet the same one.
        random.shuffle(questions)
        for name, question in questions:
            measuring.waiting_for(_described(question))
            answers[name] = timed(question, deadline_s)
        probe.measure(measuring)
    return Measured(
        shape=shape,
        facts=facts,
        appliance=appliance,
        decode=answers["decode"],
        fewer=answers.get("fewer"),
        deep=answers.get("deep"),
        prefill=answers["prefill"],
        bandwidth=probe.bandwidth,
        bandwidth_note=probe.note,
        conditions=window.conditions,
    )


def facts_of(shape: ModelShape) -> ModelFacts:
    """What a model of this shape costs a token, read from the header that its file has."""
    header = header_of(shape, shape.tensors())
    return model_facts(parse_header(header, file_bytes(shape), shape.key), shape.key)


def _rough_speed(appliance: Appliance, timed: Callable[[Question, float], Timed]) -> Speed:
    decode = Question(appliance.decode_threads, 1, appliance.batch, generate=_ROUGH_GENERATED)
    prefill = Question(appliance.prefill_threads, 1, appliance.batch, prompt=_ROUGH_PROMPT)
    return Speed(*(timed(question, _ROUGH_DEADLINE_S).tokens_per_s[0] for question in (decode, prefill)))


def _questions(planned: Measurements, appliance: Appliance) -> dict[str, Question]:
    """What is timed, by the names that `measure` knows."""
    decode = Question(appliance.decode_threads, REPETITIONS, appliance.batch, generate=planned.generate)
    questions = {
        "decode": decode,
        "prefill": Question(appliance.prefill_threads, REPETITIONS, appliance.batch, prompt=planned.prompt),
    }
    if appliance.decode_threads > 1:
        half = appliance.decode_threads // 2
        questions["fewer"] = replace(decode, threads=half, generate=planned.fewer_generate)
    if planned.depth:
        questions["deep"] = replace(decode, depth=planned.depth, generate=planned.deep_generate)
    return questions


def _thread_counts(appliance: Appliance) -> list[int]:
    """Those that decode here, and steps between that a prediction for other machines needs."""
    own = {max(1, appliance.decode_threads // 2), appliance.decode_threads}
    return sorted(own | set(thread_steps(appliance.prefill_threads)))


def _described(question: Question) -> str:
    if question.prompt:
        return f"a prompt of {question.prompt} tokens, {question.threads} threads"
    depth = f" at a depth of {question.depth}" if question.depth else ""
    return f"{question.generate} decoded tokens{depth}, {question.threads} threads"


@dataclass
class _Probe:
    """The memory's bandwidth, measured before and after: what neighbours leave of it changes."""

    facts: ModelFacts
    appliance: Appliance
    bandwidth: Bandwidth | None = None
    note: str = ""

    def measure(self, measuring: Step) -> None:
        """Measure it once more. A machine on which it can't be measured is sized without it."""
        if self.note:
            return
        measuring.waiting_for("the memory's bandwidth")
        try:
            found = measure_bandwidth(
                run_on_host,
                threads=_thread_counts(self.appliance),
                decode_bytes=self.facts.decode_bytes,
            )
            together = found if self.bandwidth is None else combined((self.bandwidth, found))
            # Where memory was too short for the probe, that is known now and not after all the measuring.
            ceiling(self.facts, together, threads=self.appliance.decode_threads, depth=0)
            self.bandwidth = together
        except HarnessError as error:
            measuring.note(f"the memory's bandwidth was not measured: {error}")
            if self.bandwidth is None:
                self.note = f"not measured: {error}"
