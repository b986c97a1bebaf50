"""A guest has no sockets. This stands in the place of the compiled module, so that what only mentions them can be
imported (`asyncio`, `http.client`, `logging.config`, `unittest.mock`, and much of what pip installs) and whoever opens
one is told so by OSError.

The numbers are WASI's own where it has them, and otherwise only differ from one another.
"""

import errno

AF_UNSPEC, AF_INET, AF_INET6, AF_UNIX = range(4)
SOCK_STREAM, SOCK_DGRAM = 6, 5
SOL_SOCKET, IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_IPV6 = 0x7FFFFFFF, 0, 6, 17, 41
SO_REUSEADDR, SO_KEEPALIVE, SO_BROADCAST, SO_ERROR, SO_TYPE, SO_SNDBUF, SO_RCVBUF = 2, 9, 6, 4, 3, 7, 8
TCP_NODELAY, IPV6_V6ONLY, SOMAXCONN = 1, 26, 128
MSG_PEEK, MSG_WAITALL = 1, 2
SHUT_RD, SHUT_WR, SHUT_RDWR = 1, 2, 3
AI_PASSIVE, AI_CANONNAME, AI_NUMERICHOST = 1, 2, 4
NI_NUMERICHOST, NI_NUMERICSERV = 1, 2
EAI_NONAME, EAI_FAMILY = -2, -6
INADDR_ANY, INADDR_LOOPBACK, INADDR_BROADCAST = 0, 0x7F000001, 0xFFFFFFFF
has_ipv6 = False
CAPI = None

error, timeout = OSError, TimeoutError
_default: float | None = None


class herror(OSError): ...


class gaierror(OSError): ...


def _none(*_: object, **__: object) -> object:
    raise OSError(errno.ENOTSUP, "a guest has no sockets")


class socket:
    __slots__ = ()  # for the library's own class that derives from it
    family = type = proto = -1
    timeout: float | None = None
    __init__ = _none


SocketType = socket
getaddrinfo = getnameinfo = gethostbyname = gethostbyname_ex = gethostbyaddr = getservbyname = getservbyport = _none
getprotobyname = close = dup = socketpair = if_nameindex = if_nametoindex = _none


def gethostname() -> str:
    return "localhost"


def getdefaulttimeout() -> float | None:
    return _default


def setdefaulttimeout(value: float | None) -> None:
    global _default
    _default = value


def htons(value: int) -> int:
    return int.from_bytes(value.to_bytes(2, "big"), "little")


def htonl(value: int) -> int:
    return int.from_bytes(value.to_bytes(4, "big"), "little")


ntohs, ntohl = htons, htonl


def inet_aton(text: str) -> bytes:
    parts = text.split(".")
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() and int(part) < 256 for part in parts):
        raise OSError("illegal IP address string passed to inet_aton")
    return bytes(map(int, parts))


def inet_ntoa(packed: bytes) -> str:
    if len(packed) != 4:
        raise OSError("packed IP wrong length")
    return ".".join(map(str, packed))
