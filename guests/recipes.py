"""What each shipped guest is made of: its own sources, pinned third-party ones, and flags.

A guest is a folder here with C sources and a program.toml. One that needs no more than our own C needs no entry below.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from guests.sources import Distribution

HERE = Path(__file__).resolve().parent

FLAGS = ("-O3", "-DNDEBUG")
THIRD_FLAGS = ("-std=gnu17", "-w")
OWN_FLAGS = ("-std=gnu23", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function")
LINK = ("-s", "-Wl,-z,stack-size=65536")


@dataclass(frozen=True)
class Part:
    """Some third-party sources that are compiled alike."""

    source: Distribution
    members: tuple[str, ...]
    """What is extracted, as patterns below the archive's top folder; it lands in third/FOLDER/."""
    folder: str
    units: tuple[str, ...] = ()
    """What is compiled, relative to third/FOLDER/."""
    flags: tuple[str, ...] = ()
    special: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Further flags of single units."""
    edits: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """By unit: patterns (`re`, multi-line), each of which must match in one place, and what stands there instead."""


@dataclass(frozen=True)
class Recipe:
    """How one guest is built."""

    name: str
    parts: tuple[Part, ...] = ()
    shared: tuple[str, ...] = ()
    """Sources that several guests share, relative to common/."""
    include: tuple[str, ...] = ()
    """Header folders for our own sources, relative to the build's folder."""
    generated: Mapping[str, str] = field(default_factory=dict)
    """Files that are written for the build: path below generated/, and text."""
    flags: tuple[str, ...] = ()
    """For our own sources."""
    link: tuple[str, ...] = LINK


def units(folder: str, names: str) -> tuple[str, ...]:
    """The C files of these names, parted by spaces."""
    return tuple(f"{folder}{name}.c" for name in names.split())


CAT = Recipe(
    "cat",
    # No C library: cat brings its own entry point.
    link=("-s", "-nostdlib", "-Wl,--no-entry", "-Wl,-z,stack-size=16384"),
)

# Patterns are read and made ready by recursion, bounded by the depth that they may have.
DEEP = ("-s", "-Wl,-z,stack-size=262144")
GREP = Recipe("grep", link=DEEP)
SELECT = Recipe("select", link=DEEP)

LIBJPEG = Distribution(
    # simplejpeg carries the whole of libjpeg-turbo 3.1.2, headers included.
    name="simplejpeg",
    version="1.9.0",
    filename="simplejpeg-1.9.0.tar.gz",
    sha256="5ac7d9489eeb812c2e7ea5c283994a29d9fefdfe5ed7b86c09d485e0dd366689",
)
LIBSPNG = Distribution(
    # pyspng carries libspng 0.7.4.
    name="pyspng",
    version="0.1.4",
    filename="pyspng-0.1.4.tar.gz",
    sha256="c715f97caf46c7d2fe1cd473114e36c7bba7d9a4ef6575b46e0e53de9354759a",
)
BLOSC = Distribution(
    # blosc carries zlib 1.3.1.
    name="blosc",
    version="1.11.4",
    filename="blosc-1.11.4.tar.gz",
    sha256="e0b312d9554d3aea93c75af4ad70dfa8b815ef4fe2b658c313b2f27ed0f41d37",
)
OPENCV = Distribution(
    # The one source distribution that carries the whole of a recent libwebp, 1.4.0.
    name="opencv-python-headless",
    version="4.12.0.88",
    filename="opencv-python-headless-4.12.0.88.tar.gz",
    sha256="cfdc017ddf2e59b6c2f53bc12d74b6b0be7ded4ec59083ea70763921af2b6c09",
)
STB = Distribution(
    # libstb carries stb_truetype.
    name="libstb",
    version="0.8.0",
    filename="libstb-0.8.0.tar.gz",
    sha256="dc51a22f4eec2f06e09104bc15869e07373ecc83056a2355cacd177f30a657d8",
)
ROBOTO = Distribution(
    name="font-roboto",
    version="0.0.1",
    filename="font-roboto-0.0.1.tar.gz",
    sha256="8bc9136bf46609fbb13af4783016799b14e23dda294a61791171de7ea2ec457f",
)

JCONFIG = """\
#define JPEG_LIB_VERSION 62
#define LIBJPEG_TURBO_VERSION 3.1.2
#define LIBJPEG_TURBO_VERSION_NUMBER 3001002
#define MEM_SRCDST_SUPPORTED 1
#ifndef BITS_IN_JSAMPLE
#define BITS_IN_JSAMPLE 8
#endif
"""
JCONFIGINT = """\
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
"""
JVERSION = """\
#define JVERSION "6b  27-Mar-1998"
#define JCOPYRIGHT1 "Copyright (C) the libjpeg-turbo Project and many others"
#define JCOPYRIGHT2 ""
#define JCOPYRIGHT_SHORT "Copyright (C) the libjpeg-turbo Project and many others"
"""

TURBO = "lib/libjpeg-turbo-3.1.2/src"
# Left out: arithmetic and lossless coding, more than 8 bits a sample; the guests bring their own memory.
LIBJPEG_UNITS = units(
    "",
    "jcapimin jchuff jcicc jcinit jcmarker jcmaster jcomapi jcparam jcphuff jctrans jdapimin jdatadst jdatasrc"
    " jdhuff jdicc jdinput jdmarker jdmaster jdphuff jdtrans jerror jmemmgr jpeg_nbits jfdctflt",
) + units(
    "wrapper/",
    "jcapistd-8 jccoefct-8 jccolor-8 jcdctmgr-8 jcmainct-8 jcprepct-8 jcsample-8 jdapistd-8 jdcoefct-8"
    " jdcolor-8 jddctmgr-8 jdmainct-8 jdmerge-8 jdpostct-8 jdsample-8 jfdctfst-8 jfdctint-8 jidctflt-8 jidctfst-8"
    " jidctint-8 jidctred-8 jquant1-8 jquant2-8 jutils-8",
)
# The entropy coder's 64-bit buffer: of all platforms with 32-bit pointers it uses it on this one only.
WIDE_BUFFER = ("-D__x86_64__", "-D__ILP32__")

SPNG = "vendor/libspng-0.7.4/spng"
ZLIB_1_3_1 = "blosc/c-blosc/internal-complibs/zlib-1.3.1"
ZLIB_FLAGS = (f"-Ithird/blosc/{ZLIB_1_3_1}", "-DHAVE_UNISTD_H", "-DZ_TESTW=8", "-DUNALIGNED_OK")
"""Z_TESTW: CRC-32 by words of 64 bits, which it would not take where pointers have 32. UNALIGNED_OK: matches are looked
for by two bytes at a time (a tenth quicker at level 9)."""


def zlib(*units: str) -> Part:
    """zlib 1.3.1: these of its files. `#include <zlib.h>` with ZLIB_INCLUDE among a recipe's `include`."""
    return Part(
        BLOSC,
        members=(f"{ZLIB_1_3_1}/*.[ch]",),
        folder="blosc",
        units=tuple(f"{ZLIB_1_3_1}/{unit}.c" for unit in units),
        flags=ZLIB_FLAGS,
    )


ZLIB_INCLUDE = f"third/blosc/{ZLIB_1_3_1}"

WEBP = "opencv/3rdparty/libwebp"
WEBP_UNITS = (
    units("sharpyuv/", "sharpyuv sharpyuv_cpu sharpyuv_csp sharpyuv_dsp sharpyuv_gamma sharpyuv_sse2")
    + units("src/dec/", "alpha_dec buffer_dec frame_dec idec_dec io_dec quant_dec tree_dec vp8_dec vp8l_dec webp_dec")
    + units("src/dsp/", "alpha_processing cost cpu dec dec_clip_tables enc filters lossless lossless_enc rescaler ssim")
    + units("src/dsp/", "upsampling yuv alpha_processing_sse2 cost_sse2 dec_sse2 enc_sse2 filters_sse2 lossless_sse2")
    + units("src/dsp/", "lossless_enc_sse2 rescaler_sse2 ssim_sse2 upsampling_sse2 yuv_sse2")
    + units(
        "src/enc/", "alpha_enc analysis_enc backward_references_cost_enc backward_references_enc config_enc cost_enc"
    )
    + units("src/enc/", "filter_enc frame_enc histogram_enc iterator_enc near_lossless_enc picture_csp_enc picture_enc")
    + units("src/enc/", "picture_psnr_enc picture_rescale_enc picture_tools_enc predictor_enc quant_enc syntax_enc")
    + units("src/enc/", "token_enc tree_enc vp8l_enc webp_enc")
    + units(
        "src/utils/", "bit_reader_utils bit_writer_utils color_cache_utils filters_utils huffman_encode_utils palette"
    )
    + units("src/utils/", "huffman_utils quant_levels_dec_utils quant_levels_utils random_utils rescaler_utils utils")
    + units("src/utils/", "thread_utils")
)
SSE2 = ("-Iown/common/sse2", "-D__SSE2__", "-DWEBP_HAVE_SSE2", "-DEMSCRIPTEN")
"""libwebp's loops for x86, in WebAssembly's SIMD by common/sse2/emmintrin.h: encoding takes half the time. EMSCRIPTEN
is its word for processors that are known when it is compiled."""
# libwebp's large pieces are a picture's: see common/images/room.h.
ROOM = ("-Dmalloc=room_malloc", "-Dcalloc=room_calloc", "-Dfree=room_free")

JPEG_PART = Part(
    LIBJPEG,
    members=(f"{TURBO}/*.c", f"{TURBO}/*.h", f"{TURBO}/wrapper/*.c"),
    folder="simplejpeg",
    units=tuple(f"{TURBO}/{unit}" for unit in LIBJPEG_UNITS),
    flags=("-Igenerated", f"-Ithird/simplejpeg/{TURBO}"),
    special={f"{TURBO}/{unit}.c": WIDE_BUFFER for unit in ("jchuff", "jcphuff", "jdhuff", "jdphuff")},
)
PNG_PARTS = (
    Part(
        LIBSPNG,
        members=(f"{SPNG}/*.[ch]",),
        folder="pyspng",
        units=(f"{SPNG}/spng.c",),
        flags=(f"-I{ZLIB_INCLUDE}", "-DSPNG_STATIC"),
    ),
    zlib("adler32", "compress", "crc32", "deflate", "inffast", "inflate", "inftrees", "trees", "zutil"),
)
WEBP_PART = Part(
    OPENCV,
    members=tuple(f"{WEBP}/{folder}/*.[ch]" for folder in ("sharpyuv", "src/dec", "src/dsp", "src/enc", "src/utils"))
    + (f"{WEBP}/src/webp/*.h",),
    folder="opencv",
    units=tuple(f"{WEBP}/{unit}" for unit in WEBP_UNITS),
    flags=(f"-Ithird/opencv/{WEBP}", f"-Ithird/opencv/{WEBP}/src", *SSE2),
    special={f"{WEBP}/src/utils/utils.c": ROOM},
)
PICTURE_INCLUDE = (
    *("generated", f"third/simplejpeg/{TURBO}", f"third/pyspng/{SPNG}"),
    *(f"third/opencv/{WEBP}/src", "third/libstb/src/third_party/stb", ZLIB_INCLUDE),
)
PICTURE_UNITS = units("images/", "file fit jpeg comments picture png png_chunks resample room turbo turbo_wide webp")
JPEG_HEADERS = {"jconfig.h": JCONFIG, "jconfigint.h": JCONFIGINT, "jversion.h": JVERSION}


def picture_recipe(name: str) -> Recipe:
    """A guest that decodes and encodes pictures of all kinds."""
    return Recipe(
        name,
        parts=(JPEG_PART, *PNG_PARTS, WEBP_PART),
        shared=PICTURE_UNITS,
        include=PICTURE_INCLUDE,
        generated=JPEG_HEADERS,
        flags=("-DSPNG_STATIC",),
    )


THUMBNAIL = picture_recipe("thumbnail")
TRANSCODE = picture_recipe("transcode")
WATERMARK = Recipe(
    "watermark",
    parts=(
        JPEG_PART,
        *PNG_PARTS,
        Part(STB, members=("src/third_party/stb/stb_truetype.h",), folder="libstb"),
        Part(ROBOTO, members=("font_roboto/files/Roboto-Medium.ttf",), folder="font-roboto"),
    ),
    shared=units("images/", "comments file jpeg png png_chunks resample room turbo turbo_wide"),
    include=PICTURE_INCLUDE,
    generated=JPEG_HEADERS,
    flags=("-DSPNG_STATIC", "--embed-dir=third/font-roboto/font_roboto/files"),
)

GZIP = Recipe("gzip", parts=(zlib("adler32", "crc32", "deflate", "trees", "zutil"),), include=(ZLIB_INCLUDE,))
GUNZIP = Recipe(
    "gunzip", parts=(zlib("adler32", "crc32", "inffast", "inflate", "inftrees", "zutil"),), include=(ZLIB_INCLUDE,)
)

QUICKJS = Distribution(
    # quickjs-ng, a Python binding, carries the engine QuickJS-ng 0.17.0, without its command line.
    name="quickjs-ng",
    version="0.17.0.2",
    filename="quickjs_ng-0.17.0.2.tar.gz",
    sha256="43d2e48272208721a7aaea8e3f02d4b9318f12ef20cc4f5421b59d9a470706ef",
)
QUICKJS_FRAMES = {
    # QuickJS throws a RangeError when its stack is used up. It can see only the part of the stack that lies in memory;
    # the other, where the engine keeps what WebAssembly has no address for, has 3 MiB, and its end is a trap. So that
    # the former is always used up before the latter, functions that call themselves and have little or nothing in
    # memory are given a frame there: at least three tenths of what a round takes of the other part (measured by the
    # deepest nesting before a trap: with 1 MiB, 4,600 rounds of json_parse_value, 172 of js_parse_function_decl2).
    # main.c says how much of it a script may use.
    "JS_FlattenIntoArray": 128,
    "js_json_to_str": 128,
    "js_parse_assign_expr2": 96,
    "js_parse_destructuring_element": 512,
    "js_parse_function_decl2": 1536,
    "js_parse_postfix_expr": 768,
    "js_parse_statement_or_decl": 96,
    "js_parse_unary": 96,
    "js_proxy_define_own_property": 128,
    "js_proxy_delete_property": 128,
    "js_proxy_getPrototypeOf": 128,
    "js_proxy_get_own_property_names": 128,
    "js_proxy_has": 128,
    "js_proxy_setPrototypeOf": 128,
    "json_parse_value": 128,
}
QUICKJS_CHECK = (
    # Helpers of iterators call one another past all of QuickJS's own checks.
    r"^(static JSValue js_iterator_helper_next\([^;{}]*\)\n\{\n)",
    r'\1char frame[512]; __asm__ volatile("" : : "r"(frame));\n'
    r"if (js_check_stack_overflow(ctx->rt, 0)) return JS_ThrowStackOverflow(ctx);\n",
)
JAVASCRIPT = Recipe(
    "javascript",
    parts=(
        Part(
            QUICKJS,
            members=("upstream-quickjs/*.[ch]",),
            folder="quickjs",
            units=tuple(f"upstream-quickjs/{unit}.c" for unit in ("dtoa", "libregexp", "libunicode", "quickjs")),
            flags=("-D_GNU_SOURCE",),
            edits={
                "upstream-quickjs/quickjs.c": (QUICKJS_CHECK,)
                + tuple(
                    (
                        rf"^(static [^;{{}}]*\b{name}\([^;{{}}]*\)\n\{{\n)",
                        rf'\1char frame[{size}]; __asm__ volatile("" : : "r"(frame));\n',
                    )
                    for name, size in QUICKJS_FRAMES.items()
                )
            },
        ),
    ),
    include=("third/quickjs/upstream-quickjs",),
    flags=("-D_GNU_SOURCE",),
    link=("-s", "-Wl,-z,stack-size=1048576"),
)

OWN_RECIPES = (CAT, GREP, GZIP, GUNZIP, JAVASCRIPT, SELECT, THUMBNAIL, TRANSCODE, WATERMARK)
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in OWN_RECIPES}


def names() -> list[str]:
    """The guests there are, sorted."""
    return sorted(path.parent.name for path in HERE.glob("*/program.toml"))


def recipe(name: str) -> Recipe:
    return RECIPES.get(name, Recipe(name))
