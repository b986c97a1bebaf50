#define JPEG_INTERNALS /* for what tells a lossless picture */
#include "turbo.h"

#include "jmemsys.h"
#include "room.h"

#define SCANS_MOST 100 /* a progressive picture has ten or so; each goes over all of it */

static const char xmp_heading[29] = "http://ns.adobe.com/xap/1.0/";

static _Noreturn void fail(j_common_ptr picture) {
    char message[JMSG_LENGTH_MAX];
    if (picture->err->msg_code == JERR_OUT_OF_MEMORY) die(2, "not enough memory for this JPEG picture");
    picture->err->format_message(picture, message);
    die(2, picture->is_decompressor ? "cannot read the JPEG picture: " : "cannot write a JPEG picture: ", message);
}

/* A negative level warns that data is damaged or missing; libjpeg would go on and fill the picture with grey. */
static void judge_message(j_common_ptr picture, int level) {
    if (level >= 0) return;
    switch (picture->err->msg_code) {
        case JWRN_ADOBE_XFORM:
        case JWRN_BOGUS_ICC:
        case JWRN_EXTRANEOUS_DATA:
        case JWRN_JFIF_MAJOR:
            return; /* odd, but nothing of the picture is lost */
        case JWRN_JPEG_EOF:
            die(2, "the JPEG picture is truncated");
        default:
            fail(picture);
    }
}

static void judge_progress(j_common_ptr picture) {
    if (picture->is_decompressor && ((j_decompress_ptr)picture)->input_scan_number > SCANS_MOST)
        die(2, "the JPEG picture has more than ", decimal(SCANS_MOST).digits, " scans");
}

static struct jpeg_error_mgr *errors(void) {
    static struct jpeg_error_mgr manager;
    jpeg_std_error(&manager);
    manager.error_exit = fail;
    manager.emit_message = judge_message;
    return &manager;
}

void turbo_open(j_decompress_ptr d, const uint8_t *data, size_t size) {
    static struct jpeg_progress_mgr progress = {.progress_monitor = judge_progress};
    d->err = errors();
    jpeg_create_decompress(d);
    d->progress = &progress;
    jpeg_mem_src(d, data, size);
    jpeg_save_markers(d, JPEG_COM, 0xffff);
    for (int i = 0; i < 16; i++) jpeg_save_markers(d, JPEG_APP0 + i, 0xffff);
    jpeg_read_header(d, TRUE);
    check_sides(d->image_width, d->image_height);
    if (d->data_precision != 8)
        die(2, "the JPEG picture has ", decimal((uint64_t)d->data_precision).digits, " bits a sample; only 8 are supported");
    if (d->arith_code) die(2, "the JPEG picture is arithmetic-coded, which is not supported");
    if (d->master->lossless) die(2, "the JPEG picture is of the lossless kind, which is not supported");
    if (d->jpeg_color_space == JCS_UNKNOWN) die(2, "the JPEG picture has an unknown colour space");
    for (int i = 0; i < d->num_components; i++)
        if (d->comp_info[i].h_samp_factor < 1 || d->comp_info[i].v_samp_factor < 1) die(2, "the JPEG picture has an impossible sampling");
}

void turbo_create(j_compress_ptr c) {
    c->err = errors();
    jpeg_create_compress(c);
}

static int marked(jpeg_saved_marker_ptr marker, int code, const char *heading, size_t size) {
    return marker->marker == code && marker->data_length >= size && !memcmp(marker->data, heading, size);
}

About turbo_about(j_decompress_ptr d) {
    About about = {0};
    Comment **end = &about.comments;
    for (jpeg_saved_marker_ptr marker = d->marker_list; marker; marker = marker->next) {
        if (!about.exif.data && marked(marker, JPEG_APP0 + 1, "Exif\0", 6))
            about.exif = (Bytes){marker->data + 6, marker->data_length - 6};
        if (!about.xmp.data && marked(marker, JPEG_APP0 + 1, xmp_heading, sizeof xmp_heading))
            about.xmp = (Bytes){marker->data + sizeof xmp_heading, marker->data_length - sizeof xmp_heading};
        if (marker->marker == JPEG_COM) end = add_comment(end, (Bytes){marker->data, marker->data_length});
    }
    static const DensityUnit units[] = {RATIO, PER_INCH, PER_CENTIMETRE};
    if (d->saw_JFIF_marker && d->density_unit < 3 && d->X_density && d->Y_density)
        about.density = (Density){units[d->density_unit], d->X_density, d->Y_density};
    /* Square pixels are what every picture has that says nothing. */
    if (about.density.unit == RATIO && about.density.x == about.density.y) about.density.unit = NO_DENSITY;
    JOCTET *profile;
    unsigned size;
    if (jpeg_read_icc_profile(d, &profile, &size)) about.icc = (Bytes){profile, size};
    return about;
}

static void write_segment(j_compress_ptr c, const char *what, const char *heading, size_t heading_size, Bytes bytes) {
    if (!bytes.data) return;
    if (bytes.size > 65533 - heading_size)
        die(2, "the picture's ", what, " has ", decimal(bytes.size).digits, " bytes, which is more than a JPEG can hold");
    jpeg_write_m_header(c, JPEG_APP0 + 1, (unsigned)(heading_size + bytes.size));
    for (size_t i = 0; i < heading_size; i++) jpeg_write_m_byte(c, (uint8_t)heading[i]);
    for (size_t i = 0; i < bytes.size; i++) jpeg_write_m_byte(c, bytes.data[i]);
}

void turbo_write_about(j_compress_ptr c, const About *about) {
    write_segment(c, "EXIF", "Exif\0", 6, about->exif);
    write_segment(c, "XMP", xmp_heading, sizeof xmp_heading, about->xmp);
    for (const Comment *comment = about->comments; comment; comment = comment->next) {
        if (comment->text.size > 65533)
            die(2, "the picture's comment has ", decimal(comment->text.size).digits, " bytes, which is more than a JPEG can hold");
        jpeg_write_marker(c, JPEG_COM, comment->text.data, (unsigned)comment->text.size);
    }
    if (!about->icc.data || !about->icc.size) return;
    if (about->icc.size > 255 * 65519) die(2, "the picture's colour profile is larger than a JPEG can hold");
    jpeg_write_icc_profile(c, about->icc.data, (unsigned)about->icc.size);
}

void turbo_set_density(j_compress_ptr c, Density density) {
    density = density_of_jpeg(density);
    c->density_unit = density.unit == PER_INCH ? 1 : density.unit == PER_CENTIMETRE ? 2 : 0;
    c->X_density = density.unit ? (UINT16)density.x : 1;
    c->Y_density = density.unit ? (UINT16)density.y : 1;
}

void turbo_copy_segments(j_decompress_ptr d, j_compress_ptr c) {
    for (jpeg_saved_marker_ptr marker = d->marker_list; marker; marker = marker->next) {
        if (c->write_JFIF_header && marked(marker, JPEG_APP0, "JFIF", 5)) continue;
        if (c->write_Adobe_marker && marked(marker, JPEG_APP0 + 14, "Adobe", 5)) continue;
        jpeg_write_marker(c, marker->marker, marker->data, marker->data_length);
    }
}

uint64_t turbo_coefficients(j_decompress_ptr d) {
    uint64_t bytes = 0;
    for (int i = 0; i < d->num_components; i++) {
        const jpeg_component_info *component = &d->comp_info[i];
        uint64_t across = ((uint64_t)component->width_in_blocks + (unsigned)component->h_samp_factor) * sizeof(JBLOCK);
        bytes += across * (component->height_in_blocks + (unsigned)component->v_samp_factor);
    }
    return bytes;
}

typedef struct {
    struct jpeg_destination_mgr manager;
    File *file;
    size_t given;
} Destination;

static void give_space(j_compress_ptr c) {
    Destination *to = (Destination *)c->dest;
    to->manager.next_output_byte = file_space(to->file, &to->given);
    if (!to->manager.next_output_byte) ERREXIT1(c, JERR_OUT_OF_MEMORY, 0);
    to->manager.free_in_buffer = to->given;
}

static boolean full(j_compress_ptr c) {
    Destination *to = (Destination *)c->dest;
    file_used(to->file, to->given); /* what it calls the buffer is wholly used, whatever it says is free */
    give_space(c);
    return TRUE;
}

static void finished(j_compress_ptr c) {
    Destination *to = (Destination *)c->dest;
    file_used(to->file, to->given - to->manager.free_in_buffer);
}

void turbo_to_file(j_compress_ptr c, File *file) {
    static Destination to;
    to.manager = (struct jpeg_destination_mgr){.init_destination = give_space, .empty_output_buffer = full, .term_destination = finished};
    to.file = file;
    c->dest = &to.manager;
}

/* The library's system-dependent part, in place of its jmemnobs.c: its large pieces are a picture's. */
void *jpeg_get_small(j_common_ptr picture, size_t size) {
    (void)picture;
    return malloc(size);
}

void jpeg_free_small(j_common_ptr picture, void *memory, size_t size) {
    (void)picture, (void)size;
    free(memory);
}

void *jpeg_get_large(j_common_ptr picture, size_t size) {
    (void)picture;
    return room(size);
}

void jpeg_free_large(j_common_ptr picture, void *memory, size_t size) {
    (void)picture, (void)memory, (void)size;
}

size_t jpeg_mem_available(j_common_ptr picture, size_t least_bytes, size_t most_bytes, size_t already) {
    (void)picture, (void)least_bytes, (void)already;
    return most_bytes;
}

void jpeg_open_backing_store(j_common_ptr picture, backing_store_ptr store, long size) {
    (void)store, (void)size;
    ERREXIT(picture, JERR_NO_BACKING_STORE);
}

long jpeg_mem_init(j_common_ptr picture) {
    (void)picture;
    return 0;
}

void jpeg_mem_term(j_common_ptr picture) {
    (void)picture;
}
