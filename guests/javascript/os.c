/* The module `os`: timers, and what is done to files as a whole. Calls give 0 or -errno, or [result, errno], as in
 * QuickJS. */
#include "javascript.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static double now(void) { /* milliseconds */
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static void sleep_for(double milliseconds) {
    if (!(milliseconds > 0)) return;
    if (milliseconds > 1e12) milliseconds = 1e12; /* thirty years */
    struct timespec time = {(time_t)(milliseconds / 1e3), 0};
    time.tv_nsec = (long)((milliseconds - (double)time.tv_sec * 1e3) * 1e6);
    nanosleep(&time, NULL);
}

typedef struct Timer {
    struct Timer *next; /* in the order in which they are due */
    double due;
    double period; /* of an interval; negative: once */
    int32_t id;
    JSValue function;
} Timer;

static Timer *timers;
static int32_t last_id;

static void insert(Timer *timer) {
    Timer **at = &timers;
    while (*at && (*at)->due <= timer->due) at = &(*at)->next;
    timer->next = *at;
    *at = timer;
}

static JSValue set_timer(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv, int repeats) {
    (void)this;
    double delay = 0;
    if (!JS_IsFunction(ctx, argv[0])) return JS_ThrowTypeError(ctx, "a timer needs a function");
    if (argc > 1 && JS_ToFloat64(ctx, &delay, argv[1])) return JS_EXCEPTION;
    if (!(delay >= 1)) delay = 1; /* NaN too */
    Timer *timer = js_malloc(ctx, sizeof *timer);
    if (!timer) return JS_EXCEPTION;
    *timer = (Timer){NULL, now() + delay, repeats ? delay : -1, ++last_id, JS_DupValue(ctx, argv[0])};
    insert(timer);
    return JS_NewInt32(ctx, timer->id);
}

static JSValue clear_timer(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)this;
    int32_t id;
    if (!argc || !JS_IsNumber(argv[0])) return JS_UNDEFINED;
    if (JS_ToInt32(ctx, &id, argv[0])) return JS_EXCEPTION;
    for (Timer **at = &timers; *at; at = &(*at)->next) {
        if ((*at)->id != id) continue;
        Timer *gone = *at;
        *at = gone->next;
        JS_FreeValue(ctx, gone->function);
        js_free(ctx, gone);
        break;
    }
    return JS_UNDEFINED;
}

int timers_turn(JSContext *ctx) {
    Timer *timer = timers;
    if (!timer) return 0;
    /* It is run after one sleep whatever the clock says then: a frozen launch's stands still. */
    sleep_for(timer->due - now());
    timers = timer->next;
    JSValue function = JS_DupValue(ctx, timer->function);
    if (timer->period < 0) {
        JS_FreeValue(ctx, timer->function);
        js_free(ctx, timer);
    } else {
        timer->due += timer->period;
        insert(timer);
    }
    JSValue result = JS_Call(ctx, function, JS_UNDEFINED, 0, NULL);
    JS_FreeValue(ctx, function);
    if (JS_IsException(result)) return -1;
    JS_FreeValue(ctx, result);
    return 1;
}

static JSValue tell_now(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)this;
    (void)argc;
    (void)argv;
    return JS_NewFloat64(ctx, now());
}

static JSValue sleep_here(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)this;
    (void)argc;
    double delay;
    if (JS_ToFloat64(ctx, &delay, argv[0])) return JS_EXCEPTION;
    sleep_for(delay);
    return JS_UNDEFINED;
}

static JSValue sleep_async(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    JSValue resolve[2], promise = JS_NewPromiseCapability(ctx, resolve);
    if (JS_IsException(promise)) return promise;
    JSValue id = set_timer(ctx, this, 2, (JSValueConst[]){resolve[0], argc ? argv[0] : JS_UNDEFINED}, false);
    JS_FreeValue(ctx, resolve[0]);
    JS_FreeValue(ctx, resolve[1]);
    if (!JS_IsException(id)) return promise;
    JS_FreeValue(ctx, promise);
    return id;
}

enum { REMOVE, RENAME, MKDIR };

static JSValue change(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv, int what) {
    (void)this;
    (void)argc;
    const char *path = JS_ToCString(ctx, argv[0]);
    const char *to = what == RENAME ? JS_ToCString(ctx, argv[1]) : "";
    if (!path || !to) return JS_EXCEPTION;
    int result = what == REMOVE ? remove(path) : what == RENAME ? rename(path, to) : mkdir(path, 0777);
    if (result) result = -errno;
    JS_FreeCString(ctx, path);
    if (what == RENAME) JS_FreeCString(ctx, to);
    return JS_NewInt32(ctx, result);
}

static JSValue pair(JSContext *ctx, JSValue result, int number) {
    JSValue both = JS_NewArray(ctx);
    JS_DefinePropertyValueUint32(ctx, both, 0, result, JS_PROP_C_W_E);
    JS_DefinePropertyValueUint32(ctx, both, 1, JS_NewInt32(ctx, number), JS_PROP_C_W_E);
    return both;
}

static JSValue read_directory(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)this;
    (void)argc;
    const char *path = JS_ToCString(ctx, argv[0]);
    if (!path) return JS_EXCEPTION;
    DIR *directory = opendir(path);
    int number = directory ? 0 : errno;
    JS_FreeCString(ctx, path);
    JSValue names = JS_NewArray(ctx);
    uint32_t count = 0;
    for (struct dirent *entry; directory && (errno = 0, entry = readdir(directory));)
        JS_DefinePropertyValueUint32(ctx, names, count++, JS_NewString(ctx, entry->d_name), JS_PROP_C_W_E);
    if (directory) {
        number = errno;
        closedir(directory);
    }
    return pair(ctx, names, number);
}

static JSValue get_stat(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)this;
    (void)argc;
    struct stat found;
    const char *path = JS_ToCString(ctx, argv[0]);
    if (!path) return JS_EXCEPTION;
    int number = stat(path, &found) ? errno : 0;
    JS_FreeCString(ctx, path);
    if (number) return pair(ctx, JS_NULL, number);
    JSValue result = JS_NewObject(ctx);
    const struct {
        const char *name;
        double value;
    } list[] = {{"mode", found.st_mode}, {"size", (double)found.st_size}, {"nlink", (double)found.st_nlink},
                {"mtime", (double)found.st_mtim.tv_sec * 1e3 + (double)(found.st_mtim.tv_nsec / 1000000)}};
    for (int i = 0; i < COUNT(list); i++)
        JS_DefinePropertyValueStr(ctx, result, list[i].name, JS_NewNumber(ctx, list[i].value), JS_PROP_C_W_E);
    return pair(ctx, result, 0);
}

static const JSCFunctionListEntry members[] = {
    JS_CFUNC_DEF("clearTimeout", 1, clear_timer),
    JS_CFUNC_DEF("clearInterval", 1, clear_timer),
    JS_CFUNC_MAGIC_DEF("mkdir", 1, change, MKDIR),
    JS_CFUNC_DEF("now", 0, tell_now),
    JS_CFUNC_DEF("readdir", 1, read_directory),
    JS_CFUNC_MAGIC_DEF("remove", 1, change, REMOVE),
    JS_CFUNC_MAGIC_DEF("rename", 2, change, RENAME),
    JS_CFUNC_MAGIC_DEF("setInterval", 2, set_timer, 1),
    JS_CFUNC_MAGIC_DEF("setTimeout", 2, set_timer, 0),
    JS_CFUNC_DEF("sleep", 1, sleep_here),
    JS_CFUNC_DEF("sleepAsync", 1, sleep_async),
    JS_CFUNC_DEF("stat", 1, get_stat),
    JS_PROP_INT32_DEF("S_IFMT", S_IFMT, JS_PROP_CONFIGURABLE),
    JS_PROP_INT32_DEF("S_IFREG", S_IFREG, JS_PROP_CONFIGURABLE),
    JS_PROP_INT32_DEF("S_IFDIR", S_IFDIR, JS_PROP_CONFIGURABLE),
};

static const JSCFunctionListEntry global[] = {
    JS_CFUNC_DEF("clearTimeout", 1, clear_timer),
    JS_CFUNC_DEF("clearInterval", 1, clear_timer),
    JS_CFUNC_MAGIC_DEF("setInterval", 2, set_timer, 1),
    JS_CFUNC_MAGIC_DEF("setTimeout", 2, set_timer, 0),
};

int os_begin(JSContext *ctx) {
    JSValue object = JS_GetGlobalObject(ctx);
    int failed = JS_SetPropertyFunctionList(ctx, object, global, COUNT(global));
    JS_FreeValue(ctx, object);
    return failed ? failed : add_module(ctx, "os", members, COUNT(members), NULL, NULL);
}
