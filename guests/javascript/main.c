/* javascript: runs a script in QuickJS.
 *
 * The first argument names the script, or is -e before the script itself. Called by another name than its own it is a
 * program that somebody made of a script: then, where there is a file /main.js, that is run and all arguments are its
 * own. Every script is an ES module: strict, with `import` and top-level `await`.
 *
 * It ends when the script, its promises and its timers have: with 0; with what std.exit() was given; with 1 after an
 * error that nobody caught, which is on stderr with its stack; or with 2 when there is nothing to run.
 */
#include "javascript.h"

#include "../common/io.h"

const char *const program_name = "javascript";

#define BUNDLED "/main.js"
/* What a script may use of the stack that lies in memory, in bytes: little enough that the other one, in the engine,
 * outlasts it (recipes.py). About 2,200 calls of a plain function in one another. */
#define STACK_LIMIT (704 << 10)

static const char usage[] =
    "usage: javascript FILE [ARG...]\n"
    "       javascript -e SCRIPT [ARG...]\n"
    "\n"
    "Runs an ES module in QuickJS %s. The object that is read is std.in, the result is what goes to std.out;\n"
    "further inputs and outputs are files: /dev/in/NAME, /dev/out/NAME. scriptArgs has FILE and the arguments.\n"
    "`insitu program build` makes a program of a script; it runs its main.js, with all arguments.\n";

_Noreturn void end(int code) {
    /* All of them: a script need not close what it wrote. */
    if ((fflush(NULL) || ferror(stdout)) && !code) die(1, "cannot write: ", strerror(errno));
    _exit(code);
}

/* Prints without the help of the script, whose own toString() may be what failed. */
static void print_error(JSContext *ctx, JSValueConst error) {
    const char *text = JS_ToCString(ctx, error);
    if (!text) JS_FreeValue(ctx, JS_GetException(ctx));
    fprintf(stderr, "%s\n", text ? text : "an error that cannot be shown");
    if (!JS_IsError(error)) return;
    JSValue stack = JS_GetPropertyStr(ctx, error, "stack");
    const char *lines = JS_IsString(stack) ? JS_ToCString(ctx, stack) : NULL;
    if (lines) fputs(lines, stderr);
    JSValue cause = JS_GetPropertyStr(ctx, error, "cause");
    if (JS_IsException(cause)) {
        JS_FreeValue(ctx, JS_GetException(ctx));
    } else if (JS_IsError(cause)) {
        fputs("caused by: ", stderr);
        const char *why = JS_ToCString(ctx, cause);
        if (!why) JS_FreeValue(ctx, JS_GetException(ctx));
        fprintf(stderr, "%s\n", why ? why : "an error that cannot be shown");
    }
}

_Noreturn void die_uncaught(JSContext *ctx, JSValueConst error) {
    static char buffer[4096]; /* one write for many short lines */
    setvbuf(stderr, buffer, _IOFBF, sizeof buffer);
    print_error(ctx, error);
    fflush(NULL);
    _exit(1);
}

static _Noreturn void die_exception(JSContext *ctx) { die_uncaught(ctx, JS_GetException(ctx)); }

/* Promises that were rejected while nobody waited for them: those that still are when all jobs have run are errors. */
static struct {
    JSValue *pairs; /* promise, reason */
    size_t count, room;
} rejected;

static void note_rejection(JSContext *ctx, JSValueConst promise, JSValueConst reason, bool handled, void *opaque) {
    (void)opaque;
    void *which = JS_VALUE_GET_PTR(promise);
    for (size_t at = 0; at < rejected.count; at++) {
        JSValue *pair = &rejected.pairs[2 * at];
        if (JS_VALUE_GET_PTR(pair[0]) != which) continue;
        if (handled) {
            JS_FreeValue(ctx, pair[0]);
            JS_FreeValue(ctx, pair[1]);
            rejected.count--;
            pair[0] = rejected.pairs[2 * rejected.count];
            pair[1] = rejected.pairs[2 * rejected.count + 1];
        }
        return;
    }
    if (handled) return;
    if (rejected.count == rejected.room) {
        size_t room = rejected.room ? 2 * rejected.room : 16;
        JSValue *pairs = realloc(rejected.pairs, 2 * room * sizeof *pairs);
        if (!pairs) die(1, "out of memory");
        rejected.pairs = pairs;
        rejected.room = room;
    }
    JSValue *pair = &rejected.pairs[2 * rejected.count++];
    pair[0] = JS_DupValue(ctx, promise);
    pair[1] = JS_DupValue(ctx, reason);
}

static void run_jobs(JSContext *ctx) {
    JSContext *of;
    int done;
    while ((done = JS_ExecutePendingJob(JS_GetRuntime(ctx), &of)) > 0) {}
    if (done < 0) die_exception(of);
}

static _Noreturn void run(JSContext *ctx, const char *name, const char *source, size_t size) {
    JSValue module = module_compile(ctx, name, source, size, true);
    if (JS_IsException(module)) die_exception(ctx);
    JSValue promise = JS_EvalFunction(ctx, module);
    if (JS_IsException(promise)) die_exception(ctx);
    for (;;) {
        run_jobs(ctx);
        if (JS_PromiseState(ctx, promise) == JS_PROMISE_REJECTED) die_uncaught(ctx, JS_PromiseResult(ctx, promise));
        if (rejected.count) die_uncaught(ctx, rejected.pairs[1]);
        int turn = timers_turn(ctx);
        if (turn < 0) die_exception(ctx);
        if (!turn) break;
    }
    if (JS_PromiseState(ctx, promise) == JS_PROMISE_PENDING) {
        fflush(NULL);
        die(1, name, " awaits something that can no longer come");
    }
    end(0);
}

static char *load(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    char *source = NULL;
    size_t room = 0;
    *size = 0;
    do {
        if (file && room - *size < 2) {
            room = room ? 2 * room : 32 << 10;
            source = realloc(source, room);
            if (!source) die(1, "not enough memory for ", path);
        }
        if (file) *size += fread(source + *size, 1, room - 1 - *size, file);
    } while (file && !feof(file) && !ferror(file));
    if (!file || ferror(file)) die(2, "cannot read ", path, ": ", strerror(errno));
    source[*size] = 0;
    return source;
}

int main(int argc, char **argv) {
    const char *name = "-e", *source;
    size_t size;
    char **words = argv; /* becomes scriptArgs: the script's name, then its arguments */
    if (argc && strcmp(argv[0], program_name) && !access(BUNDLED, F_OK)) {
        name = BUNDLED;
        source = load(name, &size);
    } else if (argc > 1 && !strcmp(argv[1], "-e")) {
        if (argc < 3) die(2, "-e must be followed by a script");
        source = argv[2];
        size = strlen(source);
        words += 2;
    } else if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
        printf(usage, JS_GetVersion());
        end(0);
    } else if (argc < 2 || argv[1][0] == '-') {
        die(2, "needs a FILE or -e SCRIPT to run; --help says more");
    } else {
        name = argv[1];
        source = load(name, &size);
        words++;
    }
    int count = argc - (int)(words - argv);
    words[0] = (char *)name;

    static char buffer[64 << 10];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    JSRuntime *runtime = JS_NewRuntime();
    JSContext *ctx = runtime ? JS_NewContext(runtime) : NULL;
    if (!ctx) die(1, "not enough memory to begin");
    JS_SetMaxStackSize(runtime, STACK_LIMIT);
    JS_UpdateStackTop(runtime);
    JS_SetHostPromiseRejectionTracker(runtime, note_rejection, NULL);
    modules_begin(runtime);
    if (file_class(ctx) || std_begin(ctx) || os_begin(ctx) || globals_begin(ctx, count, words)) die_exception(ctx);
    run(ctx, name, source, size);
}
