// A disk that takes longer, for a program that is not ours: preloaded (LD_PRELOAD), every fsync, fdatasync,
// sync_file_range and msync that goes through libc is counted and, when asked, followed by a wait.
//
// What to do stands in a page that the benchmark shares with the program, the file that
// MAINSTAY_BENCH_SYNC_PAGE names; layout: struct SyncPage in sync_page.h. So one process can be measured
// on the fast and on the slow disk. A program that makes system calls itself (Go) is not reached: its count
// stays at 0, which the benchmark says.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct sync_page {
  _Atomic uint64_t delay_us;
  _Atomic uint64_t syncs;
};

static struct sync_page* page;

__attribute__((constructor)) static void map_page(void) {
  const char* name = getenv("MAINSTAY_BENCH_SYNC_PAGE");
  if (name == NULL) return;
  const int fd = open(name, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void* at = mmap(NULL, sizeof(struct sync_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (at != MAP_FAILED) page = at;
}

static int counted(int result) {
  if (page == NULL) return result;
  const int error = errno;
  atomic_fetch_add_explicit(&page->syncs, 1, memory_order_relaxed);
  const uint64_t delay = atomic_load_explicit(&page->delay_us, memory_order_relaxed);
  if (delay > 0) {
    struct timespec left = {(time_t)(delay / 1000000), (long)(delay % 1000000) * 1000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
  }
  errno = error;
  return result;
}

// dlsym's object pointer becomes a function pointer, which ISO C has no cast for: hence the union.
#define REAL(type, name)                        \
  static union {                                \
    void* object;                               \
    type function;                              \
  } real;                                       \
  if (real.object == NULL) real.object = dlsym(RTLD_NEXT, name)

typedef int (*sync_function)(int);
typedef int (*range_function)(int, off64_t, off64_t, unsigned int);
typedef int (*msync_function)(void*, size_t, int);

int fsync(int fd) {
  REAL(sync_function, "fsync");
  return counted(real.function(fd));
}

int fdatasync(int fd) {
  REAL(sync_function, "fdatasync");
  return counted(real.function(fd));
}

int sync_file_range(int fd, off64_t offset, off64_t count, unsigned int flags) {
  REAL(range_function, "sync_file_range");
  // Without a flag that waits it only lets the disk begin.
  if ((flags & (SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WAIT_AFTER)) == 0)
    return real.function(fd, offset, count, flags);
  return counted(real.function(fd, offset, count, flags));
}

int msync(void* address, size_t length, int flags) {
  REAL(msync_function, "msync");
  return counted(real.function(address, length, flags));
}
