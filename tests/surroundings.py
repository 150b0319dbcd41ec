"""What a process that a test starts finds around it: variables, a free port."""

import os
import socket
import tempfile

# Where the binary keeps what it finds out about models: once for all tests of a run.
_cache = tempfile.TemporaryDirectory(prefix="mr-cache-")


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def clean_environment(extra=None):
    """This environment without settings for Millrace that a developer's shell may hold."""
    keep = {"MILLRACE_ORT_LIBRARY"}
    env = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_") or k in keep}
    env["XDG_CACHE_HOME"] = _cache.name
    env.update({k: str(v) for k, v in (extra or {}).items()})
    return env
