/*
 * LD_PRELOAD shim: records, and makes fail, what a process does to the files below one directory.
 *
 *   MILLRACE_DISK_ROOT     the directory; files named lock.mdb are left alone (they need not survive anything)
 *   MILLRACE_DISK_RECORD   file to append the record to; absent: nothing is recorded
 *
 * The process steers it by writing lines to ROOT/control, which never reach a file:
 *   mark TEXT              puts TEXT into the record, in order
 *   fail KIND N ERRNO MODE from now on the Nth call of KIND (write, sync) below ROOT gives ERRNO; ERRNO 0 with KIND write:
 *                          a short write of half the bytes. MODE: once, or always (the Nth and all later ones)
 *                          N 0: none. When it happens, the file ROOT/hit appears
 *   swallow 1              syncs do nothing and are not recorded (a disk that lies)
 *
 * The record, little-endian, one event after the other:
 *   u32 kind  u32 path length  u64 a  u64 b  u32 data length  path  data
 *   1 create path | 2 write path a=offset data | 3 synced path a=offset b=length (b=0: all of it) | 4 truncate path a=size
 *   5 rename path -> data | 6 unlink path | 7 mkdir path | 8 mark data | 9 rmdir path | 10 failed (what: data)
 * `synced` follows the write or the fsync that returned; of a directory it means its entries.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, SYNCED, TRUNCATE, RENAME, UNLINK, MKDIR, MARK, RMDIR, FAILED };
enum { FD_MAX = 4096, PATH_LENGTH_MAX = 512 };

typedef struct {
  char path[PATH_LENGTH_MAX]; /* relative to the root; empty: not ours */
  int isSynced;               /* O_SYNC or O_DSYNC */
} File;

static File files[FD_MAX];
static char root[PATH_LENGTH_MAX];
static size_t rootLength;
static int recordFd = -1;
static int swallow;
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

typedef struct {
  long at; /* 0: never */
  int error;
  int always;
  long seen;
} Plan;
static Plan writes, syncs;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  if (found == NULL) {
    fprintf(stderr, "shim: no %s\n", name);
    abort();
  }
  return found;
}

static void recordBytes(const void *bytes, size_t length) {
  const char *from = bytes;
  ssize_t (*realWrite)(int, const void *, size_t) = REAL(write);
  while (length > 0) {
    ssize_t done = realWrite(recordFd, from, length);
    if (done <= 0) abort();
    from += done;
    length -= (size_t)done;
  }
}

static void record(uint32_t kind, const char *path, uint64_t a, uint64_t b, const void *data, uint32_t length) {
  if (recordFd < 0) return;
  uint32_t head[2] = {kind, (uint32_t)strlen(path)};
  uint64_t numbers[2] = {a, b};
  recordBytes(head, sizeof head);
  recordBytes(numbers, sizeof numbers);
  recordBytes(&length, sizeof length);
  recordBytes(path, head[1]);
  recordBytes(data, length);
}

__attribute__((constructor)) static void start(void) {
  const char *dir = getenv("MILLRACE_DISK_ROOT");
  const char *to = getenv("MILLRACE_DISK_RECORD");
  if (dir == NULL || strlen(dir) >= sizeof root) return;
  strcpy(root, dir);
  rootLength = strlen(root);
  if (to != NULL) recordFd = REAL(open)(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

/* The path below the root, or NULL: none of ours. */
static const char *ours(const char *path) {
  if (rootLength == 0 || path == NULL || strncmp(path, root, rootLength) != 0) return NULL;
  if (path[rootLength] == 0) return ".";
  if (path[rootLength] != '/') return NULL;
  const char *below = path + rootLength + 1;
  size_t length = strlen(below);
  if (length >= 8 && strcmp(below + length - 8, "lock.mdb") == 0) return NULL;
  if (length >= PATH_LENGTH_MAX) abort();
  return below;
}

static File *fileOf(int fd) {
  if (fd < 0 || fd >= FD_MAX || files[fd].path[0] == 0) return NULL;
  return &files[fd];
}

static int isDue(Plan *plan) {
  if (plan->at == 0) return 0;
  plan->seen++;
  if (plan->seen < plan->at || (plan->seen > plan->at && !plan->always)) return 0;
  char hit[PATH_LENGTH_MAX + 8];
  snprintf(hit, sizeof hit, "%s/hit", root);
  REAL(close)(REAL(open)(hit, O_WRONLY | O_CREAT, 0644));
  return 1;
}

static void control(const char *text, size_t length) {
  char line[256], kind[16], mode[16];
  long at;
  int error, on;
  if (length >= sizeof line) abort();
  memcpy(line, text, length);
  line[length] = 0;
  if (strncmp(line, "mark ", 5) == 0) {
    record(MARK, "", 0, 0, line + 5, (uint32_t)strcspn(line + 5, "\n"));
  } else if (sscanf(line, "fail %15s %ld %d %15s", kind, &at, &error, mode) == 4) {
    Plan plan = {at, error, strcmp(mode, "always") == 0, 0};
    if (strcmp(kind, "write") == 0) writes = plan;
    else syncs = plan;
  } else if (sscanf(line, "swallow %d", &on) == 1) {
    swallow = on;
  } else {
    fprintf(stderr, "shim: unknown order %s\n", line);
    abort();
  }
}

static int opened(int fd, const char *path, int flags, int wasThere) {
  if (fd < 0 || fd >= FD_MAX) return fd;
  const char *below = ours(path);
  pthread_mutex_lock(&lock);
  files[fd].path[0] = 0;
  if (below != NULL) {
    strcpy(files[fd].path, below);
    files[fd].isSynced = (flags & (O_SYNC | O_DSYNC)) != 0;
    if (strcmp(below, "control") != 0) {
      if (!wasThere && (flags & O_CREAT)) record(CREATE, below, 0, 0, "", 0);
      else if ((flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY) record(TRUNCATE, below, 0, 0, "", 0);
    }
  }
  pthread_mutex_unlock(&lock);
  return fd;
}

#define OPEN(name)                                                              \
  int name(const char *path, int flags, ...) {                                  \
    va_list rest;                                                               \
    va_start(rest, flags);                                                      \
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;   \
    va_end(rest);                                                               \
    int wasThere = ours(path) != NULL && access(path, F_OK) == 0;               \
    return opened(REAL(name)(path, flags, mode), path, flags, wasThere);        \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                            \
  int name(int at, const char *path, int flags, ...) {                          \
    va_list rest;                                                               \
    va_start(rest, flags);                                                      \
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;   \
    va_end(rest);                                                               \
    int wasThere = ours(path) != NULL && access(path, F_OK) == 0;               \
    return opened(REAL(name)(at, path, flags, mode), path, flags, wasThere);    \
  }
OPENAT(openat)
OPENAT(openat64)

int close(int fd) {
  if (fd >= 0 && fd < FD_MAX) files[fd].path[0] = 0;
  return REAL(close)(fd);
}

/* One write of any kind: where it goes, whether it fails, and the event. `offset` -1: at the file's position. */
static ssize_t written(int fd, const struct iovec *parts, int count, off_t offset) {
  static char *copy;
  static size_t capacity;
  File *file = fileOf(fd);
  size_t length = 0, at = 0;
  for (int i = 0; i < count; i++) length += parts[i].iov_len;
  if (length > capacity) {
    copy = realloc(copy, length);
    capacity = length;
  }
  for (int i = 0; i < count; i++) {
    memcpy(copy + at, parts[i].iov_base, parts[i].iov_len);
    at += parts[i].iov_len;
  }
  if (strcmp(file->path, "control") == 0) {
    control(copy, length);
    return (ssize_t)length;
  }
  if (isDue(&writes)) {
    record(FAILED, file->path, 0, 0, "write", 5);
    if (writes.error != 0) {
      errno = writes.error;
      return -1;
    }
    length /= 2;
  }
  off_t position = offset;
  if (offset < 0) {
    position = (REAL(fcntl)(fd, F_GETFL) & O_APPEND) ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
  }
  ssize_t done = offset < 0 ? REAL(write)(fd, copy, length) : REAL(pwrite)(fd, copy, length, offset);
  if (done > 0) {
    record(WRITE, file->path, (uint64_t)position, 0, copy, (uint32_t)done);
    if (file->isSynced && !swallow) record(SYNCED, file->path, (uint64_t)position, (uint64_t)done, "", 0);
  }
  return done;
}

static ssize_t guarded(int fd, const struct iovec *parts, int count, off_t offset) {
  pthread_mutex_lock(&lock);
  ssize_t done = written(fd, parts, count, offset);
  int error = errno;
  pthread_mutex_unlock(&lock);
  errno = error;
  return done;
}

ssize_t write(int fd, const void *bytes, size_t length) {
  if (fileOf(fd) == NULL) return REAL(write)(fd, bytes, length);
  struct iovec part = {(void *)bytes, length};
  return guarded(fd, &part, 1, -1);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (fileOf(fd) == NULL) return REAL(writev)(fd, parts, count);
  return guarded(fd, parts, count, -1);
}

#define PWRITE(name)                                                            \
  ssize_t name(int fd, const void *bytes, size_t length, off_t offset) {        \
    if (fileOf(fd) == NULL) return REAL(name)(fd, bytes, length, offset);       \
    struct iovec part = {(void *)bytes, length};                                \
    return guarded(fd, &part, 1, offset);                                       \
  }
PWRITE(pwrite)
PWRITE(pwrite64)

#define PWRITEV(name)                                                           \
  ssize_t name(int fd, const struct iovec *parts, int count, off_t offset) {    \
    if (fileOf(fd) == NULL) return REAL(name)(fd, parts, count, offset);        \
    return guarded(fd, parts, count, offset);                                   \
  }
PWRITEV(pwritev)
PWRITEV(pwritev64)

static int syncedAll(int fd, int (*sync)(int)) {
  File *file = fileOf(fd);
  if (file == NULL) return sync(fd);
  pthread_mutex_lock(&lock);
  int result = 0;
  int error = 0;
  if (isDue(&syncs)) {
    record(FAILED, file->path, 0, 0, "sync", 4);
    result = -1;
    error = syncs.error;
  } else if (!swallow) {
    result = sync(fd);
    error = errno;
    if (result == 0) record(SYNCED, file->path, 0, 0, "", 0);
  }
  pthread_mutex_unlock(&lock);
  if (result != 0) errno = error;
  return result;
}

int fsync(int fd) { return syncedAll(fd, REAL(fsync)); }
int fdatasync(int fd) { return syncedAll(fd, REAL(fdatasync)); }

/* Nothing below the root may be written where this cannot see it. */
static void unseen(const char *what) {
  fprintf(stderr, "shim: %s is not recorded\n", what);
  abort();
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
  if (fileOf(fd) != NULL && (flags & MAP_SHARED) && (protection & PROT_WRITE)) unseen("a writable shared map");
  return REAL(mmap)(address, length, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset) {
  if (fileOf(fd) != NULL && (flags & MAP_SHARED) && (protection & PROT_WRITE)) unseen("a writable shared map");
  return REAL(mmap64)(address, length, protection, flags, fd, offset);
}

#define FTRUNCATE(name)                                                         \
  int name(int fd, off_t size) {                                                \
    int result = REAL(name)(fd, size);                                          \
    File *file = fileOf(fd);                                                    \
    if (result == 0 && file != NULL) {                                          \
      pthread_mutex_lock(&lock);                                                \
      record(TRUNCATE, file->path, (uint64_t)size, 0, "", 0);                   \
      pthread_mutex_unlock(&lock);                                              \
    }                                                                           \
    return result;                                                              \
  }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

static int changed(int result, uint32_t kind, const char *path, const char *to) {
  const char *below = ours(path);
  if (result != 0 || below == NULL) return result;
  const char *target = to == NULL ? "" : ours(to);
  if (target == NULL) unseen("a rename out of the root");
  pthread_mutex_lock(&lock);
  record(kind, below, 0, 0, target, (uint32_t)strlen(target));
  pthread_mutex_unlock(&lock);
  return result;
}

int rename(const char *from, const char *to) { return changed(REAL(rename)(from, to), RENAME, from, to); }
int unlink(const char *path) { return changed(REAL(unlink)(path), UNLINK, path, NULL); }
int mkdir(const char *path, mode_t mode) { return changed(REAL(mkdir)(path, mode), MKDIR, path, NULL); }
int rmdir(const char *path) { return changed(REAL(rmdir)(path), RMDIR, path, NULL); }

/* What neither node nor LMDB uses below the root today; if that changes, the test must not go blind. */
int sync_file_range(int fd, off64_t offset, off64_t length, unsigned flags) {
  if (fileOf(fd) != NULL) unseen("sync_file_range");
  return REAL(sync_file_range)(fd, offset, length, flags);
}
int posix_fallocate(int fd, off_t offset, off_t length) {
  if (fileOf(fd) != NULL) unseen("posix_fallocate");
  return REAL(posix_fallocate)(fd, offset, length);
}
int renameat(int at, const char *from, int to, const char *target) {
  if (ours(from) != NULL) unseen("renameat");
  return REAL(renameat)(at, from, to, target);
}
int link(const char *from, const char *to) {
  if (ours(to) != NULL) unseen("link");
  return REAL(link)(from, to);
}
ssize_t copy_file_range(int from, off64_t *fromAt, int to, off64_t *toAt, size_t length, unsigned flags) {
  if (fileOf(to) != NULL) unseen("copy_file_range");
  return REAL(copy_file_range)(from, fromAt, to, toAt, length, flags);
}
