"""`millrace models fetch`: models from HTTP, kept in a cache that workers of a host share."""

import base64
import datetime
import hashlib
import ipaddress
import json
import os
import pathlib
import random
import resource
import signal
import subprocess
import time

import pytest
from surroundings import clean_environment
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from http_store import HttpStore, entries
from waiting import wait_until

MODEL = "/fraud/3/model.onnx"
SIZE = 1_000_000


def bytes_of(seed, size=SIZE):
    return random.Random(seed).randbytes(size)


def digest_of(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def http_store():
    store = HttpStore()
    store.files[MODEL] = bytes_of(1)
    yield store
    store.close()


@pytest.fixture
def arguments(local_dir, http_store):
    """arguments(uri, "setting=value"...) of `millrace models fetch`."""

    def make(uri, *settings, sha256=None):
        words = ["models", "fetch", uri, "-o", "json"]
        for setting in (f"repository.cache_dir={local_dir / 'cache'}",
                        f"repository.allow_hosts=127.0.0.1:{http_store.port}", *settings):
            words += ["-s", setting]
        return words + (["--sha256", sha256] if sha256 else [])

    return make


@pytest.fixture
def fetch(arguments, run_millrace):
    """What `millrace models fetch` prints; (exit status, stderr) when it fails."""

    def run(uri, *settings, sha256=None, env=None, fails=False):
        done = run_millrace(arguments(uri, *settings, sha256=sha256), env=env, check=not fails)
        if not fails:
            return json.loads(done.stdout)
        assert done.returncode != 0, f"{uri} was fetched: {done.stdout}"
        assert done.stdout == ""
        return done.returncode, done.stderr

    return run


def read(fetched):
    with open(fetched["path"], "rb") as file:
        return file.read()


# -- the cache ------------------------------------------------------------------------------------


def test_a_model_is_fetched_once_and_then_in_the_cache(fetch, http_store, local_dir):
    data = http_store.files[MODEL]
    http_store.files["/fraud/3/model.yaml"] = b"description: of the test\n"
    first = fetch(f"{http_store.url}/fraud/3/", sha256=digest_of(data))
    assert (first["cached"], first["bytes"], first["sha256"]) == (False, SIZE, digest_of(data))
    assert read(first) == data
    digest = digest_of(data)
    assert first["path"] == str(local_dir / "cache" / "sha256" / digest[:2] / digest / "model.onnx")
    with open(first["manifest_path"], "rb") as manifest:
        assert manifest.read() == b"description: of the test\n"
    asked = len(http_store.requests)
    second = fetch(f"{http_store.url}/fraud/3/", sha256=digest.upper())
    assert second == {**first, "cached": True}
    assert len(http_store.requests) == asked, "a model in the cache needs no network"


def test_a_damaged_entry_is_found_and_fetched_again(fetch, http_store):
    digest = digest_of(http_store.files[MODEL])
    path = fetch(http_store.url + MODEL, sha256=digest)["path"]
    with open(path, "r+b") as file:
        file.seek(SIZE // 2)
        file.write(b"flipped")
    again = fetch(http_store.url + MODEL, sha256=digest)
    assert not again["cached"] and read(again) == http_store.files[MODEL]
    assert len(http_store.gets(MODEL)) == 2


def test_the_digest_may_come_from_the_manifest_or_not_at_all(fetch, http_store):
    data = http_store.files[MODEL]
    assert fetch(http_store.url + MODEL)["sha256"] == digest_of(data)
    http_store.files["/fraud/3/model.yaml"] = f"sha256: {digest_of(b'other')}\n".encode()
    code, error = fetch(http_store.url + MODEL, fails=True)
    assert code == 1 and digest_of(b"other") in error
    code, error = fetch(http_store.url + MODEL, sha256=digest_of(data[1:]), fails=True)
    assert code == 1 and "SHA-256" in error
    http_store.files["/fraud/3/model.yaml"] = f"sha256: {digest_of(data)}\n".encode()
    assert fetch(http_store.url + MODEL)["sha256"] == digest_of(data)


def test_the_least_recently_used_model_goes_first(fetch, http_store, local_dir):
    size = 200_000
    models = [f"/m/{number}/model.onnx" for number in range(3)]
    for number, path in enumerate(models):
        http_store.files[path] = bytes_of(100 + number, size)

    def use(number):
        return fetch(http_store.url + models[number], "repository.cache_bytes=500000",
                     sha256=digest_of(http_store.files[models[number]]))

    for number in (0, 1, 0, 2):
        use(number)
    left = {read({"path": path}) for path in entries(local_dir / "cache")}
    assert left == {http_store.files[models[0]], http_store.files[models[2]]}
    assert use(0)["cached"] and not use(1)["cached"]


def test_two_fetchers_at_once_download_once(arguments, millrace, http_store):
    http_store.rates[MODEL] = 500_000
    command = [str(millrace), *arguments(http_store.url + MODEL,
                                         sha256=digest_of(http_store.files[MODEL]))]
    running = [subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE)
               for _ in range(3)]
    told = [json.loads(process.communicate(timeout=60)[0]) for process in running]
    assert len({one["path"] for one in told}) == 1
    assert sorted(one["cached"] for one in told) == [False, True, True]
    assert len(http_store.gets(MODEL)) == 1
    assert read(told[0]) == http_store.files[MODEL]


# -- what breaks on the way -----------------------------------------------------------------------


def part_size(cache):
    return max((path.stat().st_size for path in entries(cache, "model.part")), default=0)


@pytest.mark.parametrize("known", [True, False], ids=["digest known", "digest unknown"])
def test_a_download_outlives_kill_9(arguments, fetch, millrace, http_store, local_dir, known):
    data = http_store.files[MODEL]
    sha256 = digest_of(data) if known else None
    http_store.rates[MODEL] = 400_000
    process = subprocess.Popen(
        [str(millrace), *arguments(http_store.url + MODEL, sha256=sha256)],
        env=clean_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: part_size(local_dir / "cache") > SIZE // 4, every=0.01,
               what="a quarter of the download")
    process.kill()
    assert process.wait(10) == -signal.SIGKILL
    there = part_size(local_dir / "cache")
    assert SIZE // 4 < there < SIZE and not entries(local_dir / "cache")
    http_store.rates.clear()
    fetched = fetch(http_store.url + MODEL, sha256=sha256)
    assert fetched["sha256"] == digest_of(data) and read(fetched) == data
    first, second = http_store.gets(MODEL)
    assert "range" not in first
    assert second["range"] == f"bytes={there}-" and second["if-range"].startswith('"')
    assert not entries(local_dir / "cache", "model.part*")


def test_kills_at_any_moment_never_leave_a_wrong_model(arguments, fetch, millrace, http_store,
                                                       local_dir):
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")
    dice = random.Random(seed)
    data = http_store.files[MODEL]
    http_store.files["/fraud/3/model.yaml"] = b"description: of the test\n"
    http_store.rates[MODEL] = 1_000_000
    command = [str(millrace), *arguments(http_store.url + MODEL, sha256=digest_of(data))]
    for _ in range(20):
        http_store.cuts[MODEL] = [dice.randrange(SIZE)]
        pair = [subprocess.Popen(command, env=clean_environment(), stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL) for _ in range(2)]
        time.sleep(dice.uniform(0, 0.3))
        for process in pair:
            process.kill()
            process.wait(10)
        for path in entries(local_dir / "cache"):
            assert path.read_bytes() == data
            if dice.random() < 0.5:
                path.unlink()
    http_store.rates.clear()
    http_store.cuts.clear()
    fetched = fetch(http_store.url + MODEL, sha256=digest_of(data))
    assert read(fetched) == data and not entries(local_dir / "cache", "model.part*")
    with open(fetched["manifest_path"], "rb") as manifest:
        assert manifest.read() == b"description: of the test\n"


def test_a_cut_connection_is_resumed_within_a_run(fetch, http_store):
    http_store.cuts[MODEL] = [300_000, 0, 200_000]
    fetched = fetch(http_store.url + MODEL, sha256=digest_of(http_store.files[MODEL]))
    assert read(fetched) == http_store.files[MODEL]
    ranges = [asked.get("range") for asked in http_store.gets(MODEL)]
    assert ranges == [None, "bytes=300000-", "bytes=300000-", "bytes=500000-"]


def test_a_file_that_changed_meanwhile_starts_again(fetch, http_store):
    http_store.cuts[MODEL] = [300_000]
    fetch(http_store.url + MODEL, "repository.fetch_attempts=1", fails=True)
    http_store.files[MODEL] = bytes_of(2)
    fetched = fetch(http_store.url + MODEL)
    assert read(fetched) == http_store.files[MODEL]
    assert http_store.gets(MODEL)[-1]["range"] == "bytes=300000-"


def test_a_server_that_ignores_the_etag_cannot_mix_two_files(fetch, http_store, local_dir):
    data = http_store.files[MODEL]
    http_store.cuts[MODEL] = [300_000]
    fetch(http_store.url + MODEL, "repository.fetch_attempts=1", sha256=digest_of(data), fails=True)
    (part,) = entries(local_dir / "cache", "model.part")
    with open(part, "r+b") as file:  # As a power cut may leave it.
        file.write(bytes(1000))
    fetched = fetch(http_store.url + MODEL, sha256=digest_of(data))
    assert read(fetched) == data
    assert [asked.get("range") for asked in http_store.gets(MODEL)][1:] == ["bytes=300000-", None]


def test_a_stalled_download_is_cut_and_goes_on(fetch, http_store):
    http_store.stalls[MODEL] = [30]
    started = time.monotonic()
    fetched = fetch(http_store.url + MODEL, "repository.low_speed_time=1s",
                    sha256=digest_of(http_store.files[MODEL]))
    assert read(fetched) == http_store.files[MODEL] and time.monotonic() - started < 20
    assert http_store.gets(MODEL)[1]["range"] == "bytes=16384-"


def test_an_overloaded_store_is_asked_again(fetch, http_store):
    http_store.statuses[MODEL] = [(503, {}), (429, {"Retry-After": "1"}), (500, {})]
    started = time.monotonic()
    fetch(http_store.url + MODEL, sha256=digest_of(http_store.files[MODEL]))
    assert len(http_store.gets(MODEL)) == 4 and time.monotonic() - started >= 1
    http_store.statuses["/b/model.onnx"] = [(503, {})] * 10
    code, error = fetch(http_store.url + "/b/model.onnx", "repository.fetch_attempts=2",
                        sha256=digest_of(b""), fails=True)
    assert code == 4 and "503" in error and "repository.fetch_attempts" in error
    assert len(http_store.gets("/b/model.onnx")) == 2
    http_store.statuses["/b/model.onnx"] = [(503, {"Retry-After": "50"})] * 10
    code, error = fetch(http_store.url + "/b/model.onnx", "repository.fetch_timeout=3s",
                        sha256=digest_of(b""), fails=True)
    assert code == 1 and "repository.fetch_timeout" in error


def test_what_is_not_the_model_is_never_kept(fetch, http_store, local_dir):
    cache = local_dir / "cache"
    data = http_store.files[MODEL]
    code, error = fetch(http_store.url + MODEL, sha256=digest_of(b"other"), fails=True)
    assert code == 1 and digest_of(data) in error and digest_of(b"other") in error
    assert not entries(cache) and not entries(cache, "model.part*")
    http_store.lengths[MODEL] = SIZE + 10  # Ends before it should.
    code, error = fetch(http_store.url + MODEL, "repository.fetch_attempts=2",
                        sha256=digest_of(data), fails=True)
    assert code == 4 and not entries(cache)
    http_store.lengths[MODEL] = SIZE - 10  # Looks whole, and is not.
    code, error = fetch(http_store.url + MODEL, sha256=digest_of(data), fails=True)
    assert code == 1 and "SHA-256" in error and not entries(cache)
    http_store.lengths.clear()
    code, error = fetch(http_store.url + MODEL, "repository.max_model_bytes=999999", fails=True)
    assert code == 1 and "repository.max_model_bytes" in error and not entries(cache, "model.part")
    for digest in (digest_of(data), None):
        code, error = fetch(http_store.url + "/none/model.onnx", sha256=digest, fails=True)
        assert code == 1 and "404" in error
    assert not list(cache.glob("*/*/*")), "a fetch that failed leaves no entry behind"


def test_a_full_disk_is_an_error_that_leaves_nothing(arguments, millrace, http_store, local_dir):
    def little_room():
        # A limit on the size of files, for what else would fill this machine's disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE // 2, SIZE // 2))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    done = subprocess.run(
        [str(millrace), *arguments(http_store.url + MODEL)], env=clean_environment(), text=True,
        timeout=60, preexec_fn=little_room, restore_signals=False, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)
    assert done.returncode == 1 and "cannot be written: File too large" in done.stderr
    assert not entries(local_dir / "cache") and not entries(local_dir / "cache", "model.part*")


def test_sigterm_ends_a_download(arguments, millrace, http_store, local_dir):
    http_store.rates[MODEL] = 100_000
    process = subprocess.Popen([str(millrace), *arguments(http_store.url + MODEL)],
                               env=clean_environment(), stderr=subprocess.PIPE, text=True)
    wait_until(lambda: part_size(local_dir / "cache") > 0, what="the first bytes")
    process.terminate()
    _, error = process.communicate(timeout=30)
    assert process.returncode == 1 and "stopped on request" in error


# -- where a model may come from ------------------------------------------------------------------


@pytest.mark.parametrize("hosts, uri, told", [
    ("", "http://127.0.0.1:{port}/m/", "repository.allow_hosts"),
    ("models.example.com", "http://169.254.169.254/latest/meta-data/x.onnx", "not listed"),
    ("localhost", "http://localhost:{port}/fraud/3/", "private, loopback"),
    ("127.0.0.2", "http://127.0.0.1:{port}/fraud/3/", "not listed"),
    ("127.0.0.1:1", "http://127.0.0.1:{port}/fraud/3/", "not listed"),
    ("10.0.0.0/8", "http://localhost:{port}/fraud/3/", "not listed"),
    ("127.0.0.1", "http://user:pass@127.0.0.1:{port}/fraud/3/", "user name"),
    ("127.0.0.1", "ftp://127.0.0.1:{port}/fraud/3/", "scheme"),
    ("127.0.0.1", "http://2130706433:{port}/fraud/3/", "looks like an address"),
    ("127.0.0.1", "http://127.0.0.1:{port}/fraud/../3/", "'.' or '..'"),
])
def test_hosts_that_are_not_listed_are_never_asked(fetch, http_store, hosts, uri, told):
    code, error = fetch(uri.format(port=http_store.port), f"repository.allow_hosts={hosts}",
                        sha256=digest_of(b""), fails=True)
    assert code in (2, 3) and told in error, error
    assert "pass" not in error and http_store.requests == []


def test_redirects_stay_within_the_host(fetch, http_store):
    other = HttpStore()
    other.files[MODEL] = http_store.files[MODEL]
    try:
        for target in (f"{other.url}{MODEL}", f"http://localhost:{http_store.port}{MODEL}",
                       f"//127.0.0.1:{other.port}{MODEL}", "http://169.254.169.254/",
                       "file:///etc/passwd", "https://127.0.0.1/x"):
            http_store.redirects["/r/model.onnx"] = target
            code, error = fetch(http_store.url + "/r/model.onnx", sha256=digest_of(b""), fails=True)
            assert code in (1, 3) and "redirected" in error, error
        assert other.requests == [] and http_store.gets(MODEL) == []
        http_store.redirects["/r/model.onnx"] = MODEL
        digest = digest_of(http_store.files[MODEL])
        assert fetch(http_store.url + "/r/model.onnx", sha256=digest)["bytes"] == SIZE
        http_store.redirects["/r/model.onnx"] = "/r/model.onnx"
        code, error = fetch(http_store.url + "/r/model.onnx", sha256=digest_of(b"2"), fails=True)
        assert "too often" in error and len(http_store.gets("/r/model.onnx")) < 20
    finally:
        other.close()


def test_a_proxy_of_the_environment_is_not_used(fetch, http_store):
    proxy = HttpStore()
    try:
        fetch(http_store.url + MODEL, env={"http_proxy": proxy.url, "ALL_PROXY": proxy.url})
        assert proxy.requests == []
    finally:
        proxy.close()


def certificate(folder, *names):
    """A PEM file with a key and a certificate that it signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "store of the test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    signed = (x509.CertificateBuilder().subject_name(name).issuer_name(name)
              .public_key(key.public_key()).serial_number(x509.random_serial_number())
              .not_valid_before(now - day).not_valid_after(now + day)
              .add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
              .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
              .sign(key, hashes.SHA256()))
    path = folder / f"{x509.random_serial_number()}.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                          serialization.NoEncryption())
        + signed.public_bytes(serialization.Encoding.PEM))
    return path


def test_certificates_are_verified_with_the_authorities_of_the_settings(fetch, local_dir):
    here = certificate(local_dir, x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    elsewhere = certificate(local_dir, x509.DNSName("models.example.com"))
    for pem, authorities, works in ((here, here, True), (here, elsewhere, False),
                                    (elsewhere, elsewhere, False), (here, "", False)):
        store = HttpStore(pem)
        store.files[MODEL] = bytes_of(1)
        settings = ["repository.allow_hosts=127.0.0.1", f"repository.ca_file={authorities}"]
        try:
            if works:
                assert fetch(store.url + MODEL, *settings)["bytes"] == SIZE
            else:
                code, error = fetch(store.url + MODEL, *settings, fails=True)
                assert code == 3 and "repository.ca_file" in error, error
                assert store.requests == []
        finally:
            store.close()


def test_relative_uris_are_of_the_store(fetch, http_store):
    settings = [f"repository.store={http_store.url}/fraud", "repository.allow_hosts="]
    assert fetch("3/", *settings)["bytes"] == SIZE
    code, error = fetch("../model.onnx", *settings, fails=True)
    assert code == 2 and "'..'" in error


def test_files_stay_within_the_repository(fetch, local_dir):
    models = local_dir / "models"
    (models / "m" / "1").mkdir(parents=True)
    (models / "m" / "1" / "model.onnx").write_bytes(b"model")
    (local_dir / "secret.onnx").write_bytes(b"secret")
    os.symlink(local_dir / "secret.onnx", models / "m" / "out.onnx")
    setting = f"repository.dir={models}"
    assert fetch("m/1/", setting)["path"] == str(models / "m" / "1" / "model.onnx")
    assert fetch(f"file://{models}/m/1/model.onnx", setting)["sha256"] == digest_of(b"model")
    for uri in (local_dir / "secret.onnx", f"file://{local_dir}/secret.onnx", "m/out.onnx",
                f"{models}/../secret.onnx"):
        code, error = fetch(str(uri), setting, fails=True)
        assert code == 3 and "repository.allow_dirs" in error, uri
    assert fetch(str(local_dir / "secret.onnx"), setting,
                 f"repository.allow_dirs={local_dir}")["bytes"] == 6


# -- signatures -----------------------------------------------------------------------------------


def public_text(key):
    return base64.b64encode(key.public_key().public_bytes(
        serialization.Encoding.Raw, serialization.PublicFormat.Raw)).decode()


def test_only_signed_models_load_once_keys_are_set(fetch, http_store, local_dir):
    key, stranger = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    keys = f"repository.trusted_keys={public_text(stranger)},{public_text(key)}"
    manifest = f"sha256: {digest_of(http_store.files[MODEL])}\nlabels: [no, yes]\n".encode()
    files = http_store.files

    def publish(text, signer):
        files["/fraud/3/model.yaml"] = text
        files["/fraud/3/model.yaml.sig"] = base64.b64encode(signer.sign(text))

    def refused(setting, told):
        code, error = fetch(http_store.url + MODEL, setting, fails=True)
        assert code in (1, 3) and told in error, error

    refused(keys, "digest is not known")
    files["/fraud/3/model.yaml"] = manifest
    refused(keys, "there is no model.yaml.sig")
    publish(manifest, Ed25519PrivateKey.generate())
    refused(keys, "by none of repository.trusted_keys")
    publish(manifest, key)
    files["/fraud/3/model.yaml"] = manifest.replace(b"no, yes", b"yes, no")
    refused(keys, "by none of repository.trusted_keys")
    assert http_store.gets(MODEL) == [], "nothing is downloaded before its signature is good"
    publish(manifest, key)
    assert fetch(http_store.url + MODEL, keys)["sha256"] == digest_of(files[MODEL])
    # From the cache, with a key that is trusted no more.
    refused(f"repository.trusted_keys={public_text(Ed25519PrivateKey.generate())}", "by none of")
    pem = local_dir / "key.pem"
    pem.write_bytes(key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    assert fetch(http_store.url + MODEL, f"repository.trusted_keys={pem}")["bytes"] == SIZE


def test_a_model_is_signed_as_the_page_says(fetch, local_dir):
    page = pathlib.Path(__file__).resolve().parents[2] / "docs" / "models.md"
    (block,) = [text for text in page.read_text().split("```") if "genpkey" in text]
    (local_dir / "model.onnx").write_bytes(b"model")
    subprocess.run(["bash", "-ec", block.removeprefix("sh\n")], cwd=local_dir, check=True)
    settings = [f"repository.dir={local_dir}",
                f"repository.trusted_keys={local_dir / 'trusted.pem'}"]
    assert fetch("model.onnx", *settings)["sha256"] == digest_of(b"model")
    (local_dir / "model.onnx").write_bytes(b"Model")
    assert fetch("model.onnx", *settings, fails=True)[0] == 1


def test_the_command_prints_a_table_too(arguments, run_millrace, http_store):
    words = [word for word in arguments(http_store.url + MODEL) if word not in ("-o", "json")]
    done = run_millrace(words)
    assert "1,000,000 bytes" in done.stdout and "model.onnx" in done.stdout and done.stderr == ""
