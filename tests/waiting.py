"""Waiting for what takes its time."""

import time


def wait_until(condition, timeout=60.0, every=0.05, what="the condition"):
    """The first true value of condition(); looks every `every` seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(every)
    raise AssertionError(f"{what} did not come true within {timeout:.0f} s")
