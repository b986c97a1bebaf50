/* Open files, as QuickJS's `std` has them, with two differences: what cannot be read or written is thrown, never passed
 * over, and a file is iterable by its lines: `for (const line of std.in)`. */
#include "javascript.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static JSClassID file_id;

JSValue throw_errno(JSContext *ctx, const char *what) {
    int number = errno;
    JSValue error = JS_NewError(ctx);
    char text[256];
    snprintf(text, sizeof text, "%s: %s", what, strerror(number));
    JS_DefinePropertyValueStr(ctx, error, "message", JS_NewString(ctx, text), JS_PROP_WRITABLE | JS_PROP_CONFIGURABLE);
    JS_DefinePropertyValueStr(ctx, error, "errno", JS_NewInt32(ctx, number), JS_PROP_C_W_E);
    return JS_Throw(ctx, error);
}

static void finish(JSRuntime *runtime, JSValueConst value) {
    (void)runtime;
    FILE *stream = JS_GetOpaque(value, file_id);
    if (stream && stream != stdin && stream != stdout && stream != stderr) fclose(stream);
}

static FILE *stream_of(JSContext *ctx, JSValueConst value) {
    JSClassID id;
    FILE *stream = JS_GetAnyOpaque(value, &id);
    if (id != file_id) {
        JS_ThrowTypeError(ctx, "this is not a file");
        return NULL;
    }
    if (!stream) JS_ThrowTypeError(ctx, "the file has been closed");
    return stream;
}

bool bytes_of(JSContext *ctx, JSValueConst value, Bytes *bytes) {
    *bytes = (Bytes){0};
    if (JS_IsString(value)) {
        bytes->text = JS_ToCStringLen(ctx, &bytes->size, value);
        bytes->data = (uint8_t *)bytes->text;
        return bytes->text != NULL;
    }
    if (JS_IsArrayBuffer(value)) {
        bytes->data = JS_GetArrayBuffer(ctx, &bytes->size, value);
        return !JS_HasException(ctx);
    }
    size_t at = 0;
    JSValue buffer = JS_UNDEFINED;
    if (JS_GetTypedArrayType(value) >= 0) {
        buffer = JS_GetTypedArrayBuffer(ctx, value, &at, &bytes->size, NULL);
    } else if (JS_IsDataView(value)) {
        int64_t start, size;
        JSValue offset = JS_GetPropertyStr(ctx, value, "byteOffset"), length = JS_GetPropertyStr(ctx, value, "byteLength");
        if (JS_IsException(offset) || JS_IsException(length)) return false;
        JS_ToInt64(ctx, &start, offset);
        JS_ToInt64(ctx, &size, length);
        at = (size_t)start;
        bytes->size = (size_t)size;
        buffer = JS_GetPropertyStr(ctx, value, "buffer");
    } else {
        JS_ThrowTypeError(ctx, "a string, an ArrayBuffer or a view on one is needed here");
        return false;
    }
    if (JS_IsException(buffer)) return false;
    size_t whole = 0;
    uint8_t *data = JS_GetArrayBuffer(ctx, &whole, buffer);
    JS_FreeValue(ctx, buffer); /* the view holds it */
    if (JS_HasException(ctx)) return false;
    if (at > whole || bytes->size > whole - at) {
        JS_ThrowRangeError(ctx, "the view reaches beyond its buffer");
        return false;
    }
    bytes->data = data ? data + at : NULL;
    return true;
}

void bytes_done(JSContext *ctx, Bytes *bytes) {
    if (bytes->text) JS_FreeCString(ctx, bytes->text);
}

uint8_t *read_rest(JSContext *ctx, FILE *stream, uint64_t most, size_t *size) {
    size_t room = 64 << 10, used = 0;
    uint8_t *data = js_malloc(ctx, room);
    while (data && used < most) {
        if (used + 1 == room) {
            uint8_t *more = room > SIZE_MAX / 2 ? NULL : js_realloc(ctx, data, 2 * room);
            if (!more) {
                js_free(ctx, data);
                if (!JS_HasException(ctx)) JS_ThrowOutOfMemory(ctx);
                return NULL;
            }
            data = more;
            room *= 2;
        }
        size_t want = room - 1 - used;
        if (want > most - used) want = (size_t)(most - used);
        size_t got = fread(data + used, 1, want, stream);
        used += got;
        if (got < want) break;
    }
    if (data && ferror(stream)) {
        throw_errno(ctx, "cannot read");
        js_free(ctx, data);
        return NULL;
    }
    if (data) data[used] = 0;
    *size = used;
    return data;
}

/* An optional count of bytes: absent, all. False: thrown. */
static bool most_of(JSContext *ctx, int argc, JSValueConst *argv, uint64_t *most) {
    *most = SIZE_MAX;
    return argc < 1 || JS_IsUndefined(argv[0]) || !JS_ToIndex(ctx, most, argv[0]);
}

static JSValue read_as_string(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    FILE *stream = stream_of(ctx, this);
    uint64_t most;
    size_t size;
    if (!stream || !most_of(ctx, argc, argv, &most)) return JS_EXCEPTION;
    uint8_t *data = read_rest(ctx, stream, most, &size);
    if (!data) return JS_EXCEPTION;
    JSValue text = JS_NewStringLen(ctx, (char *)data, size);
    js_free(ctx, data);
    return text;
}

static void *resize_buffer(JSRuntime *runtime, void *opaque, void *data, size_t size) {
    (void)opaque;
    return js_realloc_rt(runtime, data, size); /* of size 0: freed */
}

static JSValue read_as_buffer(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    FILE *stream = stream_of(ctx, this);
    uint64_t most;
    size_t size;
    if (!stream || !most_of(ctx, argc, argv, &most)) return JS_EXCEPTION;
    uint8_t *data = read_rest(ctx, stream, most, &size);
    return data ? JS_NewArrayBuffer(ctx, data, size, 0, resize_buffer, NULL, false) : JS_EXCEPTION;
}

/* The next line without its end; null at the end of the file. */
static JSValue get_line(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)argc;
    (void)argv;
    static char *line; /* kept from call to call */
    static size_t room;
    FILE *stream = stream_of(ctx, this);
    if (!stream) return JS_EXCEPTION;
    errno = 0;
    ssize_t size = getline(&line, &room, stream);
    if (size < 0) {
        if (errno == ENOMEM) return JS_ThrowOutOfMemory(ctx);
        return ferror(stream) ? throw_errno(ctx, "cannot read") : JS_NULL;
    }
    if (size && line[size - 1] == '\n') size--;
    return JS_NewStringLen(ctx, line, (size_t)size);
}

static JSValue next_line(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv, int *done, int magic) {
    (void)magic;
    JSValue line = get_line(ctx, this, argc, argv);
    *done = JS_IsNull(line);
    return *done ? JS_UNDEFINED : line;
}

static JSValue itself(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)argc;
    (void)argv;
    return JS_DupValue(ctx, this);
}

static JSValue put_strings(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    FILE *stream = stream_of(ctx, this);
    if (!stream) return JS_EXCEPTION;
    for (int i = 0; i < argc; i++) {
        size_t size;
        const char *text = JS_ToCStringLen(ctx, &size, argv[i]);
        if (!text) return JS_EXCEPTION;
        size_t done = fwrite(text, 1, size, stream);
        JS_FreeCString(ctx, text);
        if (done < size) return throw_errno(ctx, "cannot write");
    }
    return JS_UNDEFINED;
}

static bool is_immutable(JSContext *ctx, JSValueConst value) {
    if (JS_IsArrayBuffer(value)) return JS_IsImmutableArrayBuffer(value) == 1;
    JSValue buffer = JS_GetPropertyStr(ctx, value, "buffer");
    bool immutable = JS_IsImmutableArrayBuffer(buffer) == 1;
    JS_FreeValue(ctx, buffer);
    return immutable;
}

/* read(buffer, position, length) and write(…): both of the latter may be left out; gives how many bytes it were. */
static JSValue transfer(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv, int writes) {
    FILE *stream = stream_of(ctx, this);
    Bytes bytes;
    uint64_t at = 0, count;
    if (!stream) return JS_EXCEPTION;
    /* Numbers first: what they are asked for may shrink the buffer. */
    if (argc > 1 && !JS_IsUndefined(argv[1]) && JS_ToIndex(ctx, &at, argv[1])) return JS_EXCEPTION;
    bool counted = argc > 2 && !JS_IsUndefined(argv[2]);
    if (counted && JS_ToIndex(ctx, &count, argv[2])) return JS_EXCEPTION;
    if (!writes && JS_IsString(argv[0])) return JS_ThrowTypeError(ctx, "an ArrayBuffer or a view on one is needed here");
    if (!bytes_of(ctx, argv[0], &bytes)) return JS_EXCEPTION;
    if (!writes && is_immutable(ctx, argv[0])) return JS_ThrowTypeError(ctx, "the buffer cannot be changed");
    if (!counted) count = at <= bytes.size ? bytes.size - at : 0;
    if (at > bytes.size || count > bytes.size - at) {
        bytes_done(ctx, &bytes);
        return JS_ThrowRangeError(ctx, "position and length reach beyond the %u bytes of the buffer", (unsigned)bytes.size);
    }
    size_t done = 0;
    if (count && writes) done = fwrite(bytes.data + at, 1, (size_t)count, stream);
    else if (count) done = fread(bytes.data + at, 1, (size_t)count, stream);
    bytes_done(ctx, &bytes);
    if (done < count && ferror(stream)) return throw_errno(ctx, writes ? "cannot write" : "cannot read");
    return JS_NewInt64(ctx, (int64_t)done);
}

static JSValue get_byte(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)argc;
    (void)argv;
    FILE *stream = stream_of(ctx, this);
    if (!stream) return JS_EXCEPTION;
    int byte = getc(stream);
    return byte == EOF && ferror(stream) ? throw_errno(ctx, "cannot read") : JS_NewInt32(ctx, byte);
}

static JSValue put_byte(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)argc;
    FILE *stream = stream_of(ctx, this);
    int32_t byte;
    if (!stream || JS_ToInt32(ctx, &byte, argv[0])) return JS_EXCEPTION;
    return putc(byte & 0xff, stream) == EOF ? throw_errno(ctx, "cannot write") : JS_UNDEFINED;
}

static JSValue flush(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)argc;
    (void)argv;
    FILE *stream = stream_of(ctx, this);
    if (!stream) return JS_EXCEPTION;
    return fflush(stream) ? throw_errno(ctx, "cannot write") : JS_UNDEFINED;
}

static JSValue seek(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    FILE *stream = stream_of(ctx, this);
    int64_t offset;
    int32_t whence = SEEK_SET;
    if (!stream || JS_ToInt64Ext(ctx, &offset, argv[0])) return JS_EXCEPTION;
    if (argc > 1 && JS_ToInt32(ctx, &whence, argv[1])) return JS_EXCEPTION;
    return JS_NewInt32(ctx, fseeko(stream, offset, whence) ? -errno : 0);
}

static JSValue tell(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)argc;
    (void)argv;
    FILE *stream = stream_of(ctx, this);
    return stream ? JS_NewInt64(ctx, ftello(stream)) : JS_EXCEPTION;
}

static JSValue at_end(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)argc;
    (void)argv;
    FILE *stream = stream_of(ctx, this);
    return stream ? JS_NewBool(ctx, feof(stream)) : JS_EXCEPTION;
}

static JSValue close_file(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)argc;
    (void)argv;
    FILE *stream = stream_of(ctx, this);
    if (!stream) return JS_EXCEPTION;
    JS_SetOpaque(this, NULL);
    return fclose(stream) ? throw_errno(ctx, "cannot write") : JS_NewInt32(ctx, 0);
}

static const JSCFunctionListEntry methods[] = {
    JS_CFUNC_DEF("close", 0, close_file),
    JS_CFUNC_DEF("eof", 0, at_end),
    JS_CFUNC_DEF("flush", 0, flush),
    JS_CFUNC_DEF("getByte", 0, get_byte),
    JS_CFUNC_DEF("getline", 0, get_line),
    JS_CFUNC_DEF("putByte", 1, put_byte),
    JS_CFUNC_DEF("puts", 1, put_strings),
    JS_CFUNC_MAGIC_DEF("read", 3, transfer, 0),
    JS_CFUNC_DEF("readAsArrayBuffer", 0, read_as_buffer),
    JS_CFUNC_DEF("readAsString", 0, read_as_string),
    JS_CFUNC_DEF("seek", 2, seek),
    JS_CFUNC_DEF("tell", 0, tell),
    JS_CFUNC_MAGIC_DEF("write", 3, transfer, 1),
    JS_ITERATOR_NEXT_DEF("next", 0, next_line, 0),
    JS_CFUNC_DEF("[Symbol.iterator]", 0, itself),
    JS_PROP_STRING_DEF("[Symbol.toStringTag]", "FILE", JS_PROP_CONFIGURABLE),
};

int file_class(JSContext *ctx) {
    static const JSClassDef class = {"FILE", .finalizer = finish};
    JSRuntime *runtime = JS_GetRuntime(ctx);
    JS_NewClassID(runtime, &file_id);
    if (JS_NewClass(runtime, file_id, &class)) return -1;
    JSValue prototype = JS_NewObject(ctx);
    if (JS_IsException(prototype)) return -1;
    JS_SetClassProto(ctx, file_id, prototype);
    return JS_SetPropertyFunctionList(ctx, prototype, methods, COUNT(methods));
}

JSValue file_object(JSContext *ctx, FILE *stream) {
    JSValue object = JS_NewObjectClass(ctx, file_id);
    if (!JS_IsException(object)) JS_SetOpaque(object, stream);
    return object;
}
