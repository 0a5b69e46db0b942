"""The keys of one lab, made when it starts: its own host key, and the one that opens it."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from paramiko import Ed25519Key, Message

from harness.host.link import LIGHT, Login


@dataclass(frozen=True)
class LabKeys:
    """Both keys, in the formats of those who need them. The private parts are in no representation."""

    # In dropbear's own format (svr-signkey and ed25519.c in its tree): name, then seed and public key together, 64 bytes.
    host_key_file: bytes = field(repr=False)
    # The line for known_hosts and for authorized_keys, without a name: kind and base64.
    host_public: str
    user_public: str
    # OpenSSH's format, for whoever wants to log in with ssh(1).
    user_key_file: bytes = field(repr=False)
    login: Login = field(repr=False)


def make() -> LabKeys:
    """Return new keys."""
    host, user = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    public = host.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    message = Message()
    message.add_string("ssh-ed25519")
    message.add_string(host.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()) + public)
    user_key_file = user.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    login = Login(
        user="root",
        keys=(Ed25519Key(file_obj=io.StringIO(user_key_file.decode())),),
        host_keys=(Ed25519Key(data=_blob(public)),),
        algorithms=LIGHT,
    )
    return LabKeys(message.asbytes(), _line(host), _line(user), user_key_file, login)


def _line(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _blob(public: bytes) -> bytes:
    message = Message()
    message.add_string("ssh-ed25519")
    message.add_string(public)
    return message.asbytes()
