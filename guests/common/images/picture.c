#include "picture.h"

#include "exif.h"
#include "room.h"

void source_open(Source *source, const uint8_t *data, size_t size, int only_color) {
    *source = (Source){.kind = kind_of(data, size), .orientation = 1};
    switch (source->kind) {
        case JPEG: jpeg_open(source, data, size); break;
        case PNG: png_open(source, data, size, only_color); break;
        case WEBP: webp_open(source, data, size); break;
        default: refuse_kind(data, size, "JPEG, PNG and WebP");
    }
    check_sides(source->width, source->height);
    if (source->about.exif.data) source->orientation = exif_orientation(source->about.exif.data, source->about.exif.size);
}

void source_scale(Source *source, uint32_t least_width, uint32_t least_height) {
    if (source->kind == JPEG) jpeg_scale(source, least_width, least_height);
    if (source->kind == WEBP) webp_scale(source, least_width, least_height);
}

void source_narrow(Source *source) {
    source->wide = 0;
}

uint64_t source_need(const Source *source) {
    switch (source->kind) {
        case JPEG: return jpeg_source_need(source);
        case PNG: return png_source_need(source);
        default: return webp_source_need(source);
    }
}

void source_start(Source *source) {
    switch (source->kind) {
        case JPEG: jpeg_start(source); break;
        case PNG: png_start(source); break;
        default: webp_start(source);
    }
}

void source_row(Source *source, uint8_t *row) {
    switch (source->kind) {
        case JPEG: jpeg_row(source, row); break;
        case PNG: png_row(source, row); break;
        default: webp_row(source, row);
    }
}

void source_end(Source *source) {
    if (source->kind == JPEG) jpeg_end(source);
    if (source->kind == PNG) png_end(source);
}

uint64_t target_need(const Target *target) {
    uint64_t row = (uint64_t)target->width * target->channels * (target->wide ? 2 : 1);
    return target->kind == WEBP ? webp_target_need(target) : 64 * row;
}

void target_start(Target *target) {
    switch (target->kind) {
        case JPEG: jpeg_target_start(target); break;
        case PNG: png_target_start(target); break;
        default: webp_target_start(target);
    }
}

void target_row(Target *target, uint8_t *row) {
    switch (target->kind) {
        case JPEG: jpeg_target_row(target, row); break;
        case PNG: png_target_row(target, row); break;
        default: webp_target_row(target, row);
    }
}

void target_end(Target *target) {
    switch (target->kind) {
        case JPEG: jpeg_target_end(target); break;
        case PNG: png_target_end(target); break;
        default: webp_target_end(target);
    }
}
