"""What the Python guest is made of: pinned sources, flags, what is changed in them and what is left out."""

from dataclasses import dataclass, field
from typing import Final

from guests.python.debian import DebianSource
from guests.recipes import JVERSION, LIBJPEG, WIDE_BUFFER
from guests.sources import Distribution

VERSION: Final = "3.13.5"
SHORT: Final = "3.13"
BUILD: Final = 1
"""Of the wheel: to be raised when what is in it changes and VERSION does not."""
PILLOW_VERSION: Final = "13.0.0"

CPYTHON = DebianSource(
    "python3.13",
    "python3.13_3.13.5.orig.tar.xz",
    "93e583f243454e6e9e4588ca2c2662206ad961659863277afcdb96801647d640",
)
ZLIB = DebianSource(
    "zlib",
    "zlib_1.3.dfsg+really1.3.1.orig.tar.gz",
    "60dd315c07f616887caa029408308a018ace66e3d142726a97db164b3b8f69fb",
)
FREETYPE = DebianSource(
    "freetype",
    "freetype_2.13.3+dfsg.orig.tar.xz",
    "686ec73cbf6783b245dd068a09ce807b729ac0f8a46dd70f7867923c32fdf4de",
)
LIBWEBP = DebianSource(
    "libwebp",
    "libwebp_1.5.0.orig.tar.gz",
    "7d6fab70cf844bf6769077bd5d7a74893f8ffd4dfb42861745750c63c2a5c92c",
)
PILLOW = Distribution(
    "pillow",
    PILLOW_VERSION,
    f"pillow-{PILLOW_VERSION}.tar.gz",
    "cdcd1ba258178f7356d74170c9a81ba4eab6a5d55748bc402a5a2a6fe6be3510",
)
Source = DebianSource | Distribution

STACK: Final = 4 << 20
"""Bytes of the module's own stack. With RECURSION: a sort whose comparisons sort takes 2.1 KiB of it a level."""
RECURSION: Final = 3000
"""CPython's limit on recursion in C. The engine's stack, of 3 MiB, holds 3,700 of it in what costs most (an evaluation
loop that is called through a slot: 850 bytes for each); CPython itself says 5,000, for a stack of 8 MiB."""

CPYTHON_CHANGES: Final = (
    # (file, what stands there, what has to)
    (
        "Include/cpython/pystate.h",
        "#  define Py_C_RECURSION_LIMIT 5000",
        f"#  define Py_C_RECURSION_LIMIT {RECURSION}",
    ),
    # As on other platforms; here it would refuse 141 nested parentheses.
    ("Parser/parser.c", "#    define MAXSTACK 4000", "#    define MAXSTACK 6000"),
)

NATIVE_OPTIONS: Final = (
    "--disable-test-modules",
    "--without-ensurepip",
    "--without-doc-strings",
)
WASI_OPTIONS: Final = (
    "--host=wasm32-unknown-wasip1",
    "--disable-test-modules",
    "--without-ensurepip",
    "--disable-ipv6",
    # Small arenas of its own, of 256 KiB, out of the C library's heap: what fits a memory that grows.
    "--with-pymalloc",
    "--without-mimalloc",
)
WASI_ABSENT: Final = (
    # configure finds headers and stubs of these in zig's C library; behind them there is nothing.
    *("ac_cv_func_epoll_create", "ac_cv_func_epoll_create1", "ac_cv_func_timerfd_create", "ac_cv_func_shutdown"),
    *("ac_cv_func_setgroups", "ac_cv_func_mmap", "ac_cv_func_dlopen"),
    *("ac_cv_header_libintl_h", "ac_cv_header_sys_mman_h", "ac_cv_header_sys_epoll_h", "ac_cv_header_sys_timerfd_h"),
)
WASI_SETUP: Final = "*disabled*\n_socket\n"
"""Modules/Setup.local: modules that configure would have and that do not compile."""
LESS_STACK: Final = {"Python/compile.o": "-fno-inline-functions"}
"""Inlined, the compiler's visit of an expression takes 1.6 KiB of stack a level, otherwise 0.5."""

SETJMP: Final = ("-mllvm", "-wasm-enable-sjlj", "-mllvm", "-wasm-use-legacy-eh=false", "-mexception-handling")
"""What calls setjmp or longjmp: as exceptions, of the standard's form."""
LINK: Final = ("-s", f"-Wl,-z,stack-size={STACK}")
EMULATED: Final = ("-lwasi-emulated-signal", "-lwasi-emulated-getpid", "-lwasi-emulated-process-clocks", "-lm")
"""Parts of zig's C library that a program has to ask for."""


@dataclass(frozen=True)
class Library:
    """Some C sources that are compiled alike, into one archive."""

    name: str
    title: str
    source: Source
    units: tuple[str, ...]
    """Patterns below the archive's top folder."""
    headers: tuple[str, ...]
    """Folders below it that those who use the library include from."""
    without: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    """Further folders, for the library itself."""
    generated: dict[str, str] = field(default_factory=dict)
    """Headers that are written for it: name and text."""
    flags: tuple[str, ...] = ()
    special: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Further flags of single units, by their file's name."""
    uses: tuple[str, ...] = ()
    """Other libraries whose headers it needs."""
    licence: tuple[str, ...] = ()


_TURBO = "lib/libjpeg-turbo-3.1.2"
_JCONFIG = """\
#define JPEG_LIB_VERSION 62
#define LIBJPEG_TURBO_VERSION 3.1.2
#define LIBJPEG_TURBO_VERSION_NUMBER 3001002
#define C_ARITH_CODING_SUPPORTED 1
#define D_ARITH_CODING_SUPPORTED 1
#define MEM_SRCDST_SUPPORTED 1
#ifndef BITS_IN_JSAMPLE
#define BITS_IN_JSAMPLE 8
#endif
"""
_JCONFIGINT = """\
#define BUILD "insitu"
#define HIDDEN
#define INLINE inline __attribute__((always_inline))
#define THREAD_LOCAL
#define PACKAGE_NAME "libjpeg-turbo"
#define VERSION "3.1.2"
#define SIZEOF_SIZE_T 4
#define FALLTHROUGH __attribute__((fallthrough));
#ifndef BITS_IN_JSAMPLE
#define BITS_IN_JSAMPLE 8
#endif
#undef C_ARITH_CODING_SUPPORTED
#undef D_ARITH_CODING_SUPPORTED
#if BITS_IN_JSAMPLE == 8
#define C_ARITH_CODING_SUPPORTED 1
#define D_ARITH_CODING_SUPPORTED 1
#endif
"""
_TURBO_PLAIN = (
    *("jaricom", "jcapimin", "jcarith", "jchuff", "jcicc", "jcinit", "jclhuff", "jcmarker", "jcmaster", "jcomapi"),
    *("jcparam", "jcphuff", "jctrans", "jdapimin", "jdarith", "jdatadst", "jdatasrc", "jdhuff", "jdicc", "jdinput"),
    *("jdlhuff", "jdmarker", "jdmaster", "jdphuff", "jdtrans", "jerror", "jfdctflt", "jmemmgr", "jmemnobs"),
    "jpeg_nbits",
)

LIBRARIES: Final = (
    Library(
        "zlib",
        "zlib 1.3.1",
        ZLIB,
        units=("*.c",),
        headers=(".",),
        flags=("-DHAVE_UNISTD_H",),
        licence=("LICENSE",),
    ),
    Library(
        "jpeg",
        "libjpeg-turbo 3.1.2",
        LIBJPEG,
        units=(*(f"{_TURBO}/src/{unit}.c" for unit in _TURBO_PLAIN), f"{_TURBO}/src/wrapper/*-*.c"),
        headers=(f"{_TURBO}/src",),
        generated={"jconfig.h": _JCONFIG, "jconfigint.h": _JCONFIGINT, "jversion.h": JVERSION},
        flags=("-DNO_GETENV",),
        special={f"{unit}.c": WIDE_BUFFER for unit in ("jchuff", "jcphuff", "jdhuff", "jdphuff", "jclhuff", "jdlhuff")},
        # Its tools, and TurboJPEG's other interface, have wrappers too.
        without=("rdcolmap-*", "rdppm-*", "wrppm-*"),
        licence=(f"{_TURBO}/LICENSE.md", f"{_TURBO}/README.ijg"),
    ),
    Library(
        "freetype",
        "FreeType 2.13.3",
        FREETYPE,
        units=(
            *(f"src/base/{unit}.c" for unit in ("ftbase", "ftinit", "ftsystem", "ftdebug", "ftbbox", "ftbdf")),
            *(f"src/base/{unit}.c" for unit in ("ftbitmap", "ftcid", "ftfstype", "ftgasp", "ftglyph", "ftgxval")),
            *(f"src/base/{unit}.c" for unit in ("ftmm", "ftotval", "ftpatent", "ftpfr", "ftstroke", "ftsynth")),
            *(f"src/base/{unit}.c" for unit in ("fttype1", "ftwinfnt")),
            *("src/autofit/autofit.c", "src/bdf/bdf.c", "src/cache/ftcache.c", "src/cff/cff.c", "src/cid/type1cid.c"),
            *("src/gzip/ftgzip.c", "src/lzw/ftlzw.c", "src/pcf/pcf.c", "src/pfr/pfr.c", "src/psaux/psaux.c"),
            *("src/pshinter/pshinter.c", "src/psnames/psnames.c", "src/raster/raster.c", "src/sdf/sdf.c"),
            *("src/sfnt/sfnt.c", "src/smooth/smooth.c", "src/svg/svg.c", "src/truetype/truetype.c"),
            *("src/type1/type1.c", "src/type42/type42.c", "src/winfonts/winfnt.c"),
        ),
        headers=("include",),
        flags=("-DFT2_BUILD_LIBRARY", "-DFT_CONFIG_OPTION_SYSTEM_ZLIB", "-DFT_CONFIG_OPTION_NO_ASSEMBLER", *SETJMP),
        uses=("zlib",),
        licence=("LICENSE.TXT", "docs/FTL.TXT"),
    ),
    Library(
        "webp",
        "libwebp 1.5.0",
        LIBWEBP,
        units=(*(f"src/{part}/*.c" for part in ("dec", "demux", "dsp", "enc", "mux", "utils")), "sharpyuv/*.c"),
        headers=("src",),
        include=(".",),
        without=tuple(f"*_{kind}.c" for kind in ("sse2", "sse41", "neon", "msa", "mips32", "mips_dsp_r2")),
        licence=("COPYING", "PATENTS"),
    ),
)

PILLOW_UNITS: Final = (
    *("_imaging", "_imagingft", "_imagingmath", "_imagingmorph", "_webp", "decode", "display", "encode", "map"),
    *("outline", "path"),
)
PILLOW_FLAGS: Final = (
    *("-DHAVE_LIBJPEG", "-DHAVE_LIBZ", f'-DPILLOW_VERSION="{PILLOW_VERSION}"', "-D_WASI_EMULATED_SIGNAL"),
    *SETJMP,
)
PILLOW_SPECIAL: Final = {
    # Made for a shared library of its own: it has two functions that _imaging.c has as well.
    "_webp.c": ("-DImagingSectionEnter=WebpSectionEnter", "-DImagingSectionLeave=WebpSectionLeave"),
}

LIBRARY_WITHOUT: Final = (
    # Of Lib, what has nothing to run on: windows, terminals, shared libraries, network servers; and what installs.
    *("test", "idlelib", "tkinter", "turtledemo", "turtle.py", "curses", "pty.py"),
    *("webbrowser.py", "antigravity.py", "ctypes", "sqlite3", "ensurepip", "venv", "pydoc_data", "__phello__"),
    *("ssl.py", "smtplib.py", "ftplib.py", "imaplib.py", "poplib.py", "wsgiref", "xmlrpc"),
    *("_android_support.py", "_apple_support.py", "_ios_support.py", "_osx_support.py", "nturl2path.py"),
)
PIL_WITHOUT: Final = (
    *("ImageQt.py", "ImageTk.py", "ImageWin.py", "_imagingtk.py", "_tkinter_finder.py", "*.pyi", "py.typed"),
)
