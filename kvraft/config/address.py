"""Addresses in the notation "host:port", with IPv6 addresses in brackets."""

import ipaddress
import re
from functools import lru_cache
from typing import Final

import attrs

from kvraft.config.errors import WrongValue

PORT_MAX: Final = 2**16 - 1
HOST_CHARACTERS_MAX: Final = 253
"""Longest host name that DNS can hold (RFC 1035 §2.3.4, without the root)."""


PARSED_MAX: Final = 256
"""Most parsed addresses that are cached: a node parses those of its few members at each change and at each hello."""


@attrs.frozen
class Address:
    """A host and a port. The host is stored in lower case, an IPv6 address in its shortest form without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    @lru_cache(maxsize=PARSED_MAX)
    def parse(cls, text: str) -> "Address":
        """Read "host:port" or "[IPv6 address]:port".

        Raises:
            ValueError: the text is neither; the message says what is wrong.
        """
        host, colon, port = text.rpartition(":")
        if "://" in text:
            raise WrongValue(text, 'host and port alone, such as "127.0.0.1:8080"')
        if not colon or not host or text.endswith("]"):
            raise WrongValue(text, '"host:port", such as "127.0.0.1:8080"')
        if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= PORT_MAX:
            raise WrongValue(text, f"a port from 1 to {PORT_MAX} after the last colon")
        return cls(_parse_host(text, host), int(port))

    @property
    def is_unspecified(self) -> bool:
        """Whether it stands for all interfaces of a machine: a node can bind it, but nothing can connect to it."""
        try:
            return ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False


def _parse_host(text: str, host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise WrongValue(text, 'an IPv6 address in the brackets, such as "[::1]:8080"') from None
    if ":" in host:
        raise WrongValue(text, 'an IPv6 address in brackets, such as "[::1]:8080"')
    if re.fullmatch(r"[0-9.]+", host):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise WrongValue(text, "an IPv4 address of four numbers from 0 to 255") from None
    if len(host) > HOST_CHARACTERS_MAX or not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?", host):
        raise WrongValue(text, f"a host name of at most {HOST_CHARACTERS_MAX} letters, digits, dots and hyphens")
    return host.lower()
