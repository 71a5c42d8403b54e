"""Where a server listens."""

import ipaddress
from dataclasses import dataclass

from ipt_platform.errors import UsageError


@dataclass(frozen=True)
class Listen:
    """Where a server listens: an address of the machine, or a name of it, and a port (0: any that is free)."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Listen":
        """What `127.0.0.1:9464` or `[::1]:9464` says.

        Raises:
            UsageError: it is no address and port.
        """
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise UsageError(f"expected where to listen as ADDRESS:PORT, as in 127.0.0.1:9464, found {text!r:.80}")
        return cls(host, int(port))

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it; a name other than localhost could be anything."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
