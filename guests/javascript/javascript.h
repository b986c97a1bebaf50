/* javascript: what its parts share.
 *
 *     main.c      the command line, the one context, jobs and timers until nothing is left, uncaught errors
 *     modules.c   `import`: scripts, JSON, import.meta
 *     file.c      the class of open files: std.in, std.out, std.err and what std.open() gives
 *     std.c os.c  the modules of these names
 *     globals.c   console, print, scriptArgs, TextEncoder and TextDecoder, Math.random
 *
 * Modules, classes and functions have the names and the behaviour that QuickJS documents for its own command line,
 * as far as a sandbox has them; what differs stands where it is made. Nothing is freed at the end: a guest lives for
 * one launch.
 */
#ifndef INSITU_JAVASCRIPT_H
#define INSITU_JAVASCRIPT_H

#include <stdio.h>

#include "quickjs.h"

#define COUNT(list) ((int)(sizeof(list) / sizeof *(list)))

/* modules.c */
void modules_begin(JSRuntime *runtime);
JSValue module_compile(JSContext *ctx, const char *name, const char *source, size_t size, bool is_main);

/* file.c */
int file_class(JSContext *ctx);
JSValue file_object(JSContext *ctx, FILE *stream);
/* All that is left of a stream, at most `most` bytes, as js_malloc()ed memory with a NUL behind it; NULL: thrown. */
uint8_t *read_rest(JSContext *ctx, FILE *stream, uint64_t most, size_t *size);
/* The bytes of an ArrayBuffer, a view on one, or a string. False: thrown. Ends with bytes_done(). */
typedef struct {
    uint8_t *data;
    size_t size;
    const char *text; /* to be freed */
} Bytes;
bool bytes_of(JSContext *ctx, JSValueConst value, Bytes *bytes);
void bytes_done(JSContext *ctx, Bytes *bytes);
JSValue throw_errno(JSContext *ctx, const char *what);

/* std.c, os.c, globals.c: 0, or -1 with an exception */
int std_begin(JSContext *ctx);
int os_begin(JSContext *ctx);
int globals_begin(JSContext *ctx, int argc, char **argv);
/* A module under both of its names, and as a property of the global object; `fill` sets its members. */
typedef int Fill(JSContext *ctx, JSValueConst object);
int add_module(JSContext *ctx, const char *name, const JSCFunctionListEntry *list, int count, const char *const *more,
               Fill *fill);

/* os.c: runs the timer that is due next, after having slept until then. 0: there was none; -1: exception. */
int timers_turn(JSContext *ctx);

/* main.c: the error that nobody caught, on standard error; ends with exit code 1. */
_Noreturn void die_uncaught(JSContext *ctx, JSValueConst error);
/* Ends, after having flushed; where that fails a success becomes a failure. */
_Noreturn void end(int code);

#endif
