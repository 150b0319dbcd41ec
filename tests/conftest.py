"""Fixtures that drive the real binary.

MILLRACE_BINARY names the binary under test (default build/millrace). A test that fails shows the
last lines of every worker's log that it started.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import pytest

from surroundings import clean_environment, free_port

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOG_TAIL_LINES = 40
READY_TIMEOUT = 30.0
STOP_TIMEOUT = 30.0
RUN_TIMEOUT = 120.0
_logs = pytest.StashKey[list]()


def pytest_addoption(parser):
    parser.addoption("--small", action="store_true",
                     help="fewer requests, for builds that run many times slower (sanitizers)")
    parser.addoption("--full", action="store_true", help="outages of a minute instead of 20 s")


def tail(path, lines=LOG_TAIL_LINES):
    try:
        return "\n".join(pathlib.Path(path).read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"({error})"


class Worker:
    """A running `millrace serve`: its process, its admin address and its log."""

    def __init__(self, process, port, log):
        self.process = process
        self.port = port
        self.log = log

    @property
    def pid(self):
        return self.process.pid

    def get(self, path, timeout=5.0):
        """(status, body) of a GET on the admin listener."""
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=timeout) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self):
        """{'name{label="value"}': number} of /metrics."""
        status, body = self.get("/metrics")
        assert status == 200, f"/metrics answered {status}: {body[:200]}"
        samples = {}
        for line in body.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name] = float(value)
        return samples

    def wait_ready(self, timeout=READY_TIMEOUT):
        deadline = time.monotonic() + timeout
        last = "no answer"
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                pytest.fail(f"the worker exited with {self.process.returncode} before it was ready")
            try:
                status, body = self.get("/readyz", timeout=2.0)
                # It reads already then; what it starts beside that it has started a moment later.
                if status == 200 and self.get("/startupz", timeout=2.0)[0] == 200:
                    return self
                last = f"{status} {body[:200]}"
            except (OSError, urllib.error.URLError) as error:
                last = str(error)
            time.sleep(0.05)
        pytest.fail(f"the worker was not ready after {timeout:.0f} s: {last}")

    def cpu_seconds(self):
        """CPU time of the whole process so far, threads that have ended included."""
        stat = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def cores_used(self, seconds):
        """How many, over the next `seconds`."""
        before, start = self.cpu_seconds(), time.monotonic()
        time.sleep(seconds)
        return (self.cpu_seconds() - before) / (time.monotonic() - start)

    def thread_names(self):
        names = []
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(OSError):  # It has ended meanwhile.
                names.append((task / "comm").read_text().strip())
        return sorted(names)

    def kill(self):
        """kill -9, and wait for the end."""
        self.process.kill()
        return self.process.wait(STOP_TIMEOUT)

    def pause(self):
        """SIGSTOP: everything stands still, its connections stay."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self, sig=signal.SIGTERM, timeout=STOP_TIMEOUT):
        """Asks the worker to stop; returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(timeout)


@pytest.fixture(scope="session")
def millrace():
    """Path of the binary under test."""
    path = pathlib.Path(os.environ.get("MILLRACE_BINARY", ROOT / "build" / "millrace")).resolve()
    if not path.exists():
        pytest.fail(f"{path} does not exist: run `make build`, or set MILLRACE_BINARY")
    return path


@pytest.fixture(scope="session")
def millrace_test(millrace):
    """Path of the binary whose crash points can be armed, beside the one under test."""
    path = millrace.with_name("millrace-test")
    if not path.exists():
        pytest.fail(f"{path} does not exist: run `make build`")
    return path


@pytest.fixture
def local_dir():
    """A folder with a short path, gone after the test (kept with MILLRACE_KEEP_DIRS=1)."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="mr-"))
    yield path
    if os.environ.get("MILLRACE_KEEP_DIRS") != "1":
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def run_millrace(millrace):
    """run_millrace(args, input=, env=, timeout=, check=, binary=) -> CompletedProcess (text)."""

    def run(args, *, input=None, env=None, timeout=RUN_TIMEOUT, check=True, binary=None, cwd=None):
        command = [str(binary or millrace), *map(str, args)]
        done = subprocess.run(
            command, input=input, env=clean_environment(env), timeout=timeout, cwd=cwd,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if check and done.returncode != 0:
            pytest.fail(
                f"exit {done.returncode}: {' '.join(command)}\n"
                f"stdout: {done.stdout[-2000:]}\nstderr: {done.stderr[-4000:]}")
        return done

    return run


@pytest.fixture
def worker(millrace, local_dir, request):
    """`with worker(args...) as w:` runs `millrace serve args...`, ready when the block starts.

    Keywords: env, binary, port, ready (False: do not wait), ready_timeout. A worker still running
    at the end of the block is stopped with SIGTERM, then killed.
    """
    logs = request.node.stash.setdefault(_logs, [])

    @contextlib.contextmanager
    def start(*args, env=None, binary=None, port=None, ready=True, ready_timeout=READY_TIMEOUT):
        port = port or free_port()
        log = local_dir / f"worker-{len(logs)}.log"
        logs.append(log)
        command = [str(binary or millrace), "serve", *map(str, args),
                   "-s", f"http.admin_listen=127.0.0.1:{port}"]
        with open(log, "wb") as sink:
            process = subprocess.Popen(
                command, env=clean_environment(env), stdin=subprocess.DEVNULL,
                stdout=sink, stderr=subprocess.STDOUT)
        running = Worker(process, port, log)
        try:
            yield running.wait_ready(ready_timeout) if ready else running
        finally:
            if process.poll() is None:
                process.terminate()
                process.send_signal(signal.SIGCONT)  # One that is paused would never see it.
                try:
                    process.wait(STOP_TIMEOUT)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    return start


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed and report.when == "call":
        for log in item.stash.get(_logs, []):
            report.sections.append((f"end of {log}", tail(log)))
