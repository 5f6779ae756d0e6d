/* Preloaded: makes the n-th change to a file below one folder fail, stay short, or kill the process.
 *
 *   fault_arm(folder, n, kind): n = 1 is the next change; kind > 0 an errno, with kind | FAULT_LASTING for every change
 *   from the n-th on; FAULT_SHORT writes half of the bytes; FAULT_KILL ends the process before the change.
 *   fault_disarm(): changes seen since. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { FAULT_SHORT = -1, FAULT_KILL = -2, FAULT_LASTING = 1 << 16 };

static char folder[4096];
static long countdown, seen;
static int armed, kind;

void fault_arm(const char* path, long n, int what) {
  snprintf(folder, sizeof folder, "%s/", path);
  countdown = n;
  kind = what;
  seen = 0;
  armed = 1;
}

long fault_disarm(void) {
  armed = 0;
  return seen;
}

static int inside(const char* path) { return armed && strncmp(path, folder, strlen(folder)) == 0; }

static int inside_fd(int fd) {
  if (!armed) return 0;
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, path, sizeof path - 1);
  if (size < 0) return 0;
  path[size] = 0;
  return inside(path);
}

/* 0: go on; 1: half of a write; -1: fail, errno is set. */
static int fault(void) {
  ++seen;
  --countdown;
  const int lasting = kind > 0 && (kind & FAULT_LASTING) != 0;
  if (countdown > 0 || (countdown < 0 && !lasting)) return 0;
  if (kind == FAULT_KILL) raise(SIGKILL);
  if (kind == FAULT_SHORT) return 1;
  errno = kind & ~FAULT_LASTING;
  return -1;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void* data, size_t size) {
  REAL(write);
  const int what = inside_fd(fd) ? fault() : 0;
  return what < 0 ? -1 : real(fd, data, what > 0 && size > 1 ? size / 2 : size);
}

ssize_t pwrite64(int fd, const void* data, size_t size, off64_t at) {
  REAL(pwrite64);
  const int what = inside_fd(fd) ? fault() : 0;
  return what < 0 ? -1 : real(fd, data, what > 0 && size > 1 ? size / 2 : size, at);
}

ssize_t pwrite(int fd, const void* data, size_t size, off_t at) {
  REAL(pwrite);
  const int what = inside_fd(fd) ? fault() : 0;
  return what < 0 ? -1 : real(fd, data, what > 0 && size > 1 ? size / 2 : size, at);
}

#define ON_FD(name, parameters, arguments)       \
  int name parameters {                          \
    REAL(name);                                  \
    if (inside_fd(fd) && fault() < 0) return -1; \
    return real arguments;                       \
  }
#define ON_PATH(name, parameters, arguments)     \
  int name parameters {                          \
    REAL(name);                                  \
    if (inside(path) && fault() < 0) return -1;  \
    return real arguments;                       \
  }

ON_FD(fsync, (int fd), (fd))
ON_FD(fdatasync, (int fd), (fd))
ON_FD(ftruncate, (int fd, off_t size), (fd, size))
ON_FD(ftruncate64, (int fd, off64_t size), (fd, size))
ON_FD(fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))
ON_PATH(rename, (const char* path, const char* to), (path, to))
ON_PATH(unlink, (const char* path), (path))
ON_PATH(chmod, (const char* path, mode_t mode), (path, mode))

#define OPEN(name)                                                                    \
  int name(const char* path, int flags, ...) {                                        \
    int (*real)(const char*, int, ...) = (int (*)(const char*, int, ...))dlsym(RTLD_NEXT, #name); \
    va_list rest;                                                                     \
    va_start(rest, flags);                                                            \
    const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;            \
    va_end(rest);                                                                     \
    if ((flags & O_CREAT) != 0 && inside(path) && fault() < 0) return -1;             \
    return real(path, flags, mode);                                                   \
  }

OPEN(open)
OPEN(open64)
