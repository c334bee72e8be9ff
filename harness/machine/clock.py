"""The hardware clock a guest finds at power-on."""

from datetime import UTC, datetime, timedelta


def hardware_clock(offset_s: float) -> str:
    """QEMU's `-rtc base=`: "utc" for the host's clock, else the time `offset_s` seconds ahead of it."""
    if not offset_s:
        return "utc"
    return (datetime.now(UTC) + timedelta(seconds=offset_s)).strftime("%Y-%m-%dT%H:%M:%S")
