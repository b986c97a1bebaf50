/* Writes down, in order, what a process asks of the disk for one journal: preloaded by test_journal_power.py.
 *
 * An entry in $RECORDER_LOG: kind, file (u32 each), offset, length (u64 each), and the bytes of a write.
 * A write or a truncation stands before it is done; a sync twice, before and after.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WRITE = 1, TRUNCATE, SYNC, SYNCED };

static const char *const SUFFIX[] = {"", "-wal", "-answers"};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *journal;
static int out = -1;

__attribute__((constructor)) static void start(void) {
    journal = getenv("RECORDER_JOURNAL");
    if (journal) out = open(getenv("RECORDER_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int which(int fd) {
    char link[64], path[4096];
    if (out < 0) return -1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return -1;
    path[length] = 0;
    size_t prefix = strlen(journal);
    if (strncmp(path, journal, prefix)) return -1;
    for (int file = 0; file < 3; file++)
        if (!strcmp(path + prefix, SUFFIX[file])) return file;
    return -1;
}

static void note(uint32_t kind, uint32_t file, uint64_t offset, uint64_t length, const void *data) {
    struct { uint32_t kind, file; uint64_t offset, length; } head = {kind, file, offset, length};
    if (write(out, &head, sizeof head) != sizeof head) abort();
    if (data && write(out, data, length) != (ssize_t)length) abort();
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    int file = which(fd);
    if (file < 0) return REAL(pwrite64)(fd, data, length, offset);
    pthread_mutex_lock(&lock);
    note(WRITE, file, offset, length, data);
    ssize_t done = REAL(pwrite64)(fd, data, length, offset);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return pwrite64(fd, data, length, offset); }

int ftruncate64(int fd, off64_t length) {
    int file = which(fd);
    if (file < 0) return REAL(ftruncate64)(fd, length);
    pthread_mutex_lock(&lock);
    note(TRUNCATE, file, length, 0, NULL);
    int done = REAL(ftruncate64)(fd, length);
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int synced(int fd, int (*real)(int)) {
    int file = which(fd);
    if (file < 0) return real(fd);
    pthread_mutex_lock(&lock);
    uint64_t entry = lseek(out, 0, SEEK_END);
    note(SYNC, file, 0, 0, NULL);
    pthread_mutex_unlock(&lock);
    int done = real(fd);
    pthread_mutex_lock(&lock);
    if (done == 0) note(SYNCED, file, entry, 0, NULL);
    pthread_mutex_unlock(&lock);
    return done;
}

int fsync(int fd) { return synced(fd, REAL(fsync)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }
