"""Clusters that want TLS with certificates on both sides, or a token."""

import subprocess

import pytest

from cluster import KafkaCluster
from publish import publish
from workload import SHORT_SESSION, Progress, verdict, verify

TOKEN_JAAS = ("org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
              'unsecuredLoginStringClaim_sub="millrace";')


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=60)


def certificate(folder, name, signer=None):
    """Key and certificate of `name` as PEM files; signed by `signer`, or by itself."""
    key, cert, request = (folder / f"{name}.{kind}" for kind in ("key", "crt", "csr"))
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key)
    if signer is None:
        openssl("req", "-x509", "-key", key, "-subj", f"/CN={name}", "-days", 2, "-out", cert)
        return key, cert
    names = folder / f"{name}.names"
    names.write_text("subjectAltName=IP:127.0.0.1\n")
    openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
    openssl("x509", "-req", "-in", request, "-CA", signer[1], "-CAkey", signer[0],
            "-CAcreateserial", "-days", 2, "-extfile", names, "-out", cert)
    return key, cert


class TlsCluster(KafkaCluster):
    """A broker with a certificate, whose clients must have one as well."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        authority = certificate(folder, "authority")
        broker = certificate(folder, "broker", authority)
        self.user = certificate(folder, "user", authority)
        self.authority = authority[1]
        store = folder / "broker.pem"
        store.write_text(broker[0].read_text() + broker[1].read_text())
        super().__init__(folder / "cluster", properties={
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:SSL",
            "ssl.keystore.type": "PEM", "ssl.keystore.location": store,
            "ssl.truststore.type": "PEM", "ssl.truststore.location": self.authority,
            "ssl.client.auth": "required",
        })

    def properties_of_a_client(self):
        return {"security.protocol": "SSL", "ssl.ca.location": self.authority,
                "ssl.key.location": self.user[0], "ssl.certificate.location": self.user[1]}

    def client_config(self, **extra):
        own = {name: str(value) for name, value in self.properties_of_a_client().items()}
        return {**super().client_config(**extra), **own}


class TokenCluster(KafkaCluster):
    """A broker whose clients show a token that nobody signed: for tests only."""

    def __init__(self, folder):
        super().__init__(folder, properties={
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": "OAUTHBEARER",
            "sasl.mechanism.inter.broker.protocol": "OAUTHBEARER",
            "listener.name.plaintext.oauthbearer.sasl.jaas.config": TOKEN_JAAS,
        })

    def properties_of_a_client(self):
        return {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "OAUTHBEARER",
                "enable.sasl.oauthbearer.unsecure.jwt": "true",
                "sasl.oauthbearer.config": "principal=millrace"}

    def client_config(self, **extra):
        return {**super().client_config(**extra), **self.properties_of_a_client()}


@pytest.mark.parametrize("kind", [TlsCluster, TokenCluster], ids=["tls", "token"])
def test_worker_and_commands_are_let_in(kind, tmp_path, make_topics, serve, run_millrace):
    cluster = kind(tmp_path / "kafka")
    try:
        cluster.start()
        login = [word for name, value in cluster.properties_of_a_client().items()
                 for word in ("-X", f"{name}={value}")]
        topics = make_topics(cluster)
        publish(cluster, topics.requests, 300)
        with serve(cluster, topics, *SHORT_SESSION, *login) as worker:
            Progress(cluster, topics).wait_idle()
            assert worker.stop() == 0
        verdict(cluster, topics, requests=300, poisoned={})
        verify(run_millrace, cluster, topics, *login)
    finally:
        cluster.kill()
