"""One message reaches its receiver signed, at an address that was checked, or a reason says why not."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import ipaddress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kodosumi.error import WebhookError
from tests.servers.receiver import Receiver
from tests.unit.webhook.conftest import SECRET, MakeCourier

BODY = '{"summary":"Prüfung"}'.encode()
NAME = "hooks.example.com"


async def test_a_message_arrives_with_a_signature_that_its_receiver_can_check(
    receiver: Receiver, make_courier: MakeCourier
) -> None:
    await make_courier(receiver.url).deliver("f-1", "lock", BODY)

    (delivery,) = receiver.deliveries
    headers = delivery.headers
    assert delivery.body == BODY and headers["content-type"] == "application/json"
    assert (headers["x-kodosumi-event"], headers["x-kodosumi-delivery"]) == ("lock", "f-1")
    signed = headers["x-kodosumi-timestamp"].encode() + b"." + BODY
    expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert headers["x-kodosumi-signature"] == f"sha256={expected}"
    assert headers["host"] == f"127.0.0.1:{receiver.port}" and "authorization" not in headers


async def test_name_and_password_of_the_url_are_sent_as_such(receiver: Receiver, make_courier: MakeCourier) -> None:
    await make_courier(receiver.url.replace("//", "//me:word@")).deliver("f-1", "lock", BODY)
    assert receiver.deliveries[0].headers["authorization"].startswith("Basic ")


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 410, 500, 503])
async def test_every_answer_but_a_good_one_is_a_reason_and_redirects_are_not_followed(
    receiver: Receiver, make_courier: MakeCourier, status: int
) -> None:
    receiver.answer = lambda _: status
    with pytest.raises(WebhookError, match=f"{status}") as raised:
        await make_courier(receiver.url).deliver("f-1", "lock", BODY)
    assert raised.value.gone is (status == 410)
    assert len(receiver.deliveries) == 1


async def test_a_receiver_that_hangs_or_is_away_is_a_reason(receiver: Receiver, make_courier: MakeCourier) -> None:
    receiver.hanging = True
    with pytest.raises(WebhookError, match=r"no answer within 0\.2 s"):
        await make_courier(receiver.url, timeout_s=0.2).deliver("f-1", "lock", BODY)
    receiver.stop()
    with pytest.raises(WebhookError) as raised:
        await make_courier(receiver.url).deliver("f-1", "lock", BODY)
    assert "hidden" not in str(raised.value)


async def test_a_name_that_nobody_knows_is_a_reason(make_courier: MakeCourier) -> None:
    with pytest.raises(WebhookError):
        await make_courier("http://nowhere.invalid/hook").deliver("f-1", "lock", BODY)


@pytest.mark.parametrize("host", ["2852039166", "0xa9fea9fe", "169.254.43518", "0"])
async def test_odd_spellings_of_a_refused_address_are_refused(make_courier: MakeCourier, host: str) -> None:
    with pytest.raises(WebhookError, match="nothing is sent there"):
        await make_courier(f"http://{host}/hook").deliver("f-1", "lock", BODY)


async def test_a_name_whose_meaning_changes_is_checked_each_time(receiver: Receiver, make_courier: MakeCourier) -> None:
    meanings = [["127.0.0.1"], ["169.254.169.254"], ["fe80::1", "::ffff:169.254.169.254"], []]

    async def resolve(host: str, port: int) -> list[str]:
        assert (host, port) == (NAME, receiver.port)
        return meanings.pop(0)

    courier = make_courier(f"http://{NAME}:{receiver.port}/", resolve=resolve)
    await courier.deliver("f-1", "lock", BODY)
    assert receiver.deliveries[0].headers["host"] == f"{NAME}:{receiver.port}"
    for reason in ("link-local", "link-local", "no address"):
        with pytest.raises(WebhookError, match=reason):
            await courier.deliver("f-2", "lock", BODY)
    assert receiver.ids() == ["f-1"] and meanings == []


async def test_of_several_addresses_the_first_good_one_that_answers_is_used(
    receiver: Receiver, make_courier: MakeCourier
) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        # refused; nobody listens there; the receiver
        return ["169.254.169.254", "127.0.0.99", "127.0.0.1"]

    await make_courier(f"http://{NAME}:{receiver.port}/", resolve=resolve).deliver("f-1", "lock", BODY)
    assert receiver.ids() == ["f-1"]


async def test_tls_proves_the_name_though_the_connection_is_made_to_an_address(
    make_courier: MakeCourier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    authority = certificate(tmp_path / "server.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with Receiver(certificate=tmp_path / "server.pem") as receiver:
        await make_courier(f"https://{NAME}:{receiver.port}/", resolve=resolve).deliver("f-1", "lock", BODY)
        await make_courier(f"https://127.0.0.1:{receiver.port}/").deliver("f-2", "lock", BODY)
        with pytest.raises(WebhookError, match="CERTIFICATE_VERIFY_FAILED"):
            await make_courier(f"https://other.example.com:{receiver.port}/", resolve=resolve).deliver("f", "l", BODY)
        assert receiver.ids() == ["f-1", "f-2"]


def certificate(path: Path) -> Path:
    """Writes a certificate with its key for ``NAME`` and 127.0.0.1; where its authority, itself, is."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + public)
    authority = path.with_name("authority.pem")
    authority.write_bytes(public)
    return authority
