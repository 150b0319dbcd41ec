"""Models from a real S3-compatible server that checks signatures, as whoever keys are for."""

import hashlib
import json
import random
import subprocess
import sys
import urllib.request

import boto3
import pytest
from surroundings import free_port
from http_store import CuttingProxy, HttpStore, entries
from waiting import wait_until

KEY = "models/fraud v3/a+b=ü/model.onnx"
SIZE = 700_000
BUCKET = "models-of-the-test"
ROLE = "arn:aws:iam::123456789012:role/reader"
ANYONE = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": "*", "Resource": "*"}]})
TRUST = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": "sts:*", "Principal": {"AWS": "*"}}]})


class S3:
    """A server, and temporary credentials (with a session token) that may read everything in it."""

    def __init__(self, port, data):
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.data = data
        self.digest = hashlib.sha256(data).hexdigest()
        self.check_signatures_after(1_000_000)

        def client(name):
            return boto3.client(name, endpoint_url=self.url, region_name="eu-west-1",
                                aws_access_key_id="any", aws_secret_access_key="any")

        client("s3").create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        client("s3").put_object(Bucket=BUCKET, Key=KEY, Body=data)
        client("iam").create_role(RoleName="reader", AssumeRolePolicyDocument=TRUST)
        client("iam").put_role_policy(RoleName="reader", PolicyName="all", PolicyDocument=ANYONE)
        self.keys = client("sts").assume_role(RoleArn=ROLE, RoleSessionName="test")["Credentials"]
        self.check_signatures_after(0)

    def check_signatures_after(self, actions):
        urllib.request.urlopen(urllib.request.Request(
            self.url + "/moto-api/reset-auth", data=str(actions).encode(), method="POST",
            headers={"Content-Type": "text/plain"})).close()

    def environment(self):
        return {"AWS_ACCESS_KEY_ID": self.keys["AccessKeyId"],
                "AWS_SECRET_ACCESS_KEY": self.keys["SecretAccessKey"],
                "AWS_SESSION_TOKEN": self.keys["SessionToken"]}


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    port = free_port()
    log = tmp_path_factory.mktemp("s3") / "log"
    with open(log, "wb") as sink:
        process = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)],
                                   stdout=sink, stderr=subprocess.STDOUT)
    try:
        def answers():
            assert process.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=2).close()
                return True
            except OSError:
                return False

        wait_until(answers, what="the S3 server")
        yield S3(port, random.Random(3).randbytes(SIZE))
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def fetch(run_millrace, local_dir, s3):
    """The process of `millrace models fetch` of the model in the bucket."""

    def run(*settings, endpoint=None, env=None, check=True, uri=f"s3://{BUCKET}/{KEY}"):
        words = ["models", "fetch", uri, "--sha256", s3.digest, "-o", "json"]
        for setting in (f"repository.cache_dir={local_dir / 'cache'}",
                        f"repository.s3.endpoint={endpoint or s3.url}",
                        "repository.s3.region=eu-west-1", "repository.fetch_attempts=3",
                        *settings):
            words += ["-s", setting]
        # Neither this machine's keys nor its metadata.
        clean = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_ACCESS_KEY_ID": "",
                 "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_REGION": "",
                 "AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "",
                 "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": ""}
        return run_millrace(words, env={**clean, **(env or {})}, check=check)

    return run


def assert_fetched(done, s3):
    fetched = json.loads(done.stdout)
    assert (fetched["bytes"], fetched["sha256"]) == (SIZE, s3.digest)
    with open(fetched["path"], "rb") as file:
        assert file.read() == s3.data


def test_a_session_token_signs_requests_in_path_style(fetch, s3):
    assert_fetched(fetch(env=s3.environment()), s3)


def test_keys_of_the_settings_and_of_files(fetch, s3, local_dir):
    secret, token = local_dir / "secret", local_dir / "token"
    secret.write_text(s3.keys["SecretAccessKey"] + "\n")
    token.write_text(s3.keys["SessionToken"] + "\n")
    done = fetch(f"repository.s3.access_key={s3.keys['AccessKeyId']}",
                 f"repository.s3.secret_key_file={secret}",
                 f"repository.s3.session_token_file={token}")
    assert_fetched(done, s3)


@pytest.mark.parametrize("wrong", [
    {"AWS_SECRET_ACCESS_KEY": "wrong"}, {"AWS_SESSION_TOKEN": "wrong"},
    {"AWS_ACCESS_KEY_ID": "ASIAXXXXXXXXXXXXXXXX"}, {"AWS_ACCESS_KEY_ID": ""},
    {"AWS_SECRET_ACCESS_KEY": ""},
], ids=["secret", "token", "key", "no key", "no secret"])
def test_wrong_keys_are_an_error_without_secrets_in_it(fetch, s3, local_dir, wrong):
    done = fetch(env={**s3.environment(), **wrong}, check=False)
    assert done.returncode in (1, 3), done.stderr
    for secret in ("SecretAccessKey", "SessionToken"):
        assert s3.keys[secret] not in done.stderr
    assert not entries(local_dir / "cache")


def test_a_cut_download_goes_on_with_a_range(fetch, s3):
    proxy = CuttingProxy(s3.port)
    try:
        proxy.cuts = [300_000, 200_000]
        assert_fetched(fetch(endpoint=proxy.url, env=s3.environment()), s3)
        models = [head.lower() for head in proxy.heads if ".onnx" in head.splitlines()[0]]
        assert len(models) == 3 and "range:" not in models[0]
        assert all("\r\nrange: bytes=" in head and "\r\nif-match: " in head for head in models[1:])
    finally:
        proxy.close()


def test_a_web_identity_is_exchanged_for_keys(fetch, s3, local_dir):
    token = local_dir / "token"
    token.write_text("a.b.c\n")
    # The exchange itself is not signed; what follows it is.
    s3.check_signatures_after(1)
    try:
        done = fetch(env={"AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ROLE_ARN": ROLE,
                          "AWS_ENDPOINT_URL_STS": s3.url})
        assert_fetched(done, s3)
    finally:
        s3.check_signatures_after(0)


@pytest.fixture
def metadata(s3):
    """What a host of a cloud serves to those on it."""
    store = HttpStore()
    keys = json.dumps({"Code": "Success", "AccessKeyId": s3.keys["AccessKeyId"],
                       "SecretAccessKey": s3.keys["SecretAccessKey"],
                       "Token": s3.keys["SessionToken"], "Expiration": "2099-01-01T00:00:00Z"})
    roles = "/latest/meta-data/iam/security-credentials/"
    store.posts["/latest/api/token"] = b"metadata-token"
    store.files.update({roles: b"reader", roles + "reader": keys.encode(), "/c": keys.encode()})
    yield store
    store.close()


def test_keys_of_the_instance_come_by_token(fetch, s3, metadata):
    done = fetch(env={"AWS_EC2_METADATA_DISABLED": "",
                      "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url})
    assert_fetched(done, s3)
    method, path, headers, _ = metadata.requests[0]
    assert (method, path) == ("PUT", "/latest/api/token")
    assert headers["x-aws-ec2-metadata-token-ttl-seconds"] == "21600"
    assert len(metadata.requests) == 3
    assert all(headers["x-aws-ec2-metadata-token"] == "metadata-token"
               for _, _, headers, _ in metadata.requests[1:])


def test_keys_of_the_container_come_with_its_token(fetch, s3, metadata):
    done = fetch(env={"AWS_CONTAINER_CREDENTIALS_FULL_URI": metadata.url + "/c",
                      "AWS_CONTAINER_AUTHORIZATION_TOKEN": "let-me-in"})
    assert_fetched(done, s3)
    assert [headers["authorization"] for _, _, headers, _ in metadata.requests] == ["let-me-in"]


def test_what_is_not_in_the_bucket_is_named(fetch, s3):
    done = fetch(env=s3.environment(), check=False, uri=f"s3://{BUCKET}/none/")
    assert done.returncode == 1 and f"s3://{BUCKET}/none/model.onnx" in done.stderr
    assert "404" in done.stderr
    done = fetch(env=s3.environment(), check=False, uri="s3://no-such-bucket/none/")
    assert done.returncode == 1 and "NoSuchBucket" in done.stderr
