"""What a process that a test starts finds around it: variables, a free port."""

import contextlib
import os
import random
import socket
import tempfile

# Where the binary keeps what it finds out about models: once for all tests of a run.
_cache = tempfile.TemporaryDirectory(prefix="mr-cache-")


# Below those of the brokers, and of outgoing connections: one that is free a moment ago stays so.
PORTS = range(11000, 19990)


def free_port():
    """A port that was free a moment ago."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def clean_environment(extra=None):
    """This environment without settings for Millrace that a developer's shell may hold."""
    keep = {"MILLRACE_ORT_LIBRARY"}
    env = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_") or k in keep}
    env["XDG_CACHE_HOME"] = _cache.name
    env.update({k: str(v) for k, v in (extra or {}).items()})
    return env
