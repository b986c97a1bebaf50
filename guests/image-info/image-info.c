/* image-info: what a JPEG, PNG or WebP is, as one line of JSON. Reads headers only, and of a JPEG nothing behind them. */
#include "../common/memory.h"
#include "../common/options.h"
#include "info.h"

const char *const program_name = "image-info";

static const char help[] =
    "usage: image-info\n"
    "Tells what the JPEG, PNG or WebP of standard input is: one JSON object and a line end.\n"
    "  format, width, height     as stored\n"
    "  orientation               1 to 8, as EXIF has it; 1: shown as stored\n"
    "  shown_width, shown_height as it is to be looked at\n"
    "  bits, channels, color, alpha\n"
    "  compression               of a JPEG: baseline, extended, progressive, lossless, arithmetic;\n"
    "                            of the others: lossless, lossy, mixed\n"
    "  progressive or interlaced, subsampling (JPEG)\n"
    "  quality                   of a JPEG, where its tables are exactly those of libjpeg's scale\n"
    "  icc, xmp, exif            is there a colour profile, XMP; of EXIF: make, model, software, date\n"
    "  frames, loops             of an animation; loops 0: for ever\n"
    "  truncated                 true where it was noticed; of the pixels nothing is read\n";

int take_exif(Info *info, uint64_t size) {
    size_t kept = size < EXIF_LIMIT ? (size_t)size : EXIF_LIMIT;
    uint8_t *exif = take_memory(kept + 1);
    if (!exif) die(2, "not enough memory for EXIF of ", decimal(size).digits, " bytes");
    info->exif = exif;
    info->exif_size = take(exif, kept);
    return info->exif_size == kept && pass_over(size - kept);
}

static void tell_text(const Exif *exif, const char *name, size_t directory, unsigned tag) {
    const uint8_t *text;
    size_t size = exif_text(exif, directory, tag, &text);
    while (size && (text[size - 1] == ' ' || text[size - 1] == '\n')) size--; /* some cameras pad with spaces */
    if (size) json_bytes(name, text, size);
}

static void tell_exif(const Info *info) {
    Exif exif;
    if (!info->exif || !exif_open(&exif, info->exif, info->exif_size)) return;
    const uint8_t *text;
    json_open("exif");
    tell_text(&exif, "make", exif.first, EXIF_MAKE);
    tell_text(&exif, "model", exif.first, EXIF_MODEL);
    tell_text(&exif, "software", exif.first, EXIF_SOFTWARE);
    size_t more = exif_more(&exif);
    if (more && exif_text(&exif, more, EXIF_DATE_TAKEN, &text)) tell_text(&exif, "date", more, EXIF_DATE_TAKEN);
    else tell_text(&exif, "date", exif.first, EXIF_DATE);
    json_close();
}

static void tell(const Info *info, Kind kind) {
    static const char *const names[] = {"JPEG", "PNG", "WebP"};
    int orientation = info->exif ? exif_orientation(info->exif, info->exif_size) : 1, turned = orientation >= 5;
    json_begin();
    json_text("format", names[kind]);
    json_number("width", info->width);
    json_number("height", info->height);
    json_number("orientation", (uint64_t)orientation);
    json_number("shown_width", turned ? info->height : info->width);
    json_number("shown_height", turned ? info->width : info->height);
    json_number("bits", (uint64_t)info->bits);
    json_number("channels", (uint64_t)info->channels);
    json_text("color", info->color);
    json_truth("alpha", info->alpha);
    if (info->compression) json_text("compression", info->compression);
    if (info->ordered >= 0) json_truth(kind == JPEG ? "progressive" : "interlaced", info->ordered);
    if (info->subsampling) json_text("subsampling", info->subsampling);
    if (info->quality) json_number("quality", (uint64_t)info->quality);
    json_truth("icc", info->icc);
    json_truth("xmp", info->xmp);
    tell_exif(info);
    json_number("frames", info->frames);
    if (info->animated) json_number("loops", info->loops);
    if (info->truncated) json_truth("truncated", 1);
    json_end();
}

int main(int argc, char **argv) {
    take_no_argument(argc, argv, help, "what comes on standard input is told about; --help says what");
    const uint8_t *first;
    size_t size = look(&first);
    Info info = {.ordered = -1, .frames = 1};
    Kind kind = kind_of(first, size);
    switch (kind) {
        case JPEG: jpeg_info(&info); break;
        case PNG: png_info(&info); break;
        case WEBP:
            info.frames = 0;
            webp_info(&info);
            break;
        default: refuse_kind(first, size, "JPEG, PNG and WebP");
    }
    tell(&info, kind);
    return 0;
}
