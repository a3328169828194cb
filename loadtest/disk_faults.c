/* A disk that fails or loses what was not synced, between the program and the C library (LD_PRELOAD).

   DISK_FAULTS_ROOT     files under this directory are concerned
   DISK_FAULTS_CONTROL  a shared file of 256 bytes: [0] errno of writes, [1] errno of syncs, [2] errno of reads,
                        [3] errno of creating files, from [16] on a text that a path must contain; 0 = no fault
   DISK_FAULTS_SHADOW   directory that receives what a power cut would leave: the content a file had when it was
                        synced (f<key>) and the names a directory had when it was synced (d<key>)

   A key is inode and time of birth, so that a reused inode is another file. The model is the strictest that POSIX
   allows: a name is durable only when its directory was synced, a content only when its file was.
*/
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *root, *shadow;
static volatile unsigned char *control;

__attribute__((constructor)) static void begin(void) {
    root = getenv("DISK_FAULTS_ROOT");
    shadow = getenv("DISK_FAULTS_SHADOW");
    const char *path = getenv("DISK_FAULTS_CONTROL");
    int fd = path ? syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0) : -1;
    if (fd >= 0) {
        void *map = mmap(NULL, 256, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        control = map == MAP_FAILED ? NULL : map;
        close(fd);
    }
}

static int concerned(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (!root || n <= 0) return 0;
    path[n] = 0;
    return strncmp(path, root, strlen(root)) == 0;
}

static int fault(int which, int fd) {
    if (!control || !control[which]) return 0;
    char path[PATH_MAX];
    if (!concerned(fd, path) || !strstr(path, (const char *)control + 16)) return 0;
    errno = control[which];
    return 1;
}

static int key_of(int fd, const char *name, char *key, mode_t *mode) {
    struct statx s;
    if (statx(fd, name, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &s)) return -1;
    snprintf(key, 64, "%llu-%lld.%u", (unsigned long long)s.stx_ino, (long long)s.stx_btime.tv_sec,
             s.stx_btime.tv_nsec);
    *mode = s.stx_mode;
    return 0;
}

static void keep_directory(int fd, int out) {
    char own[64];
    snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
    DIR *dir = opendir(own);
    if (!dir) return;
    for (struct dirent *e; (e = readdir(dir));) {
        char key[64];
        mode_t mode;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || key_of(fd, e->d_name, key, &mode)) continue;
        if (S_ISREG(mode) || S_ISDIR(mode)) dprintf(out, "%c %s %s\n", S_ISDIR(mode) ? 'd' : 'f', key, e->d_name);
    }
    closedir(dir);
}

static void keep(int fd) {
    char path[PATH_MAX], key[64], target[PATH_MAX + 96], temporary[PATH_MAX + 128];
    mode_t mode;
    int saved = errno;
    if (!shadow || !concerned(fd, path) || key_of(fd, "", key, &mode)) return;
    snprintf(target, sizeof target, "%s/%c%s", shadow, S_ISDIR(mode) ? 'd' : 'f', key);
    snprintf(temporary, sizeof temporary, "%s.%d.%ld", target, getpid(), syscall(SYS_gettid));
    int out = syscall(SYS_openat, AT_FDCWD, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (out < 0) return;
    if (S_ISDIR(mode)) {
        keep_directory(fd, out);
    } else {
        char own[64];
        snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
        int in = syscall(SYS_openat, AT_FDCWD, own, O_RDONLY | O_CLOEXEC, 0);
        if (in >= 0) {
            while (sendfile(out, in, NULL, 1 << 20) > 0) {}
            close(in);
        }
    }
    close(out);
    rename(temporary, target);
    errno = saved;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

int fsync(int fd) {
    REAL(fsync);
    if (fault(1, fd)) return -1;
    int done = real(fd);
    if (!done) keep(fd);
    return done;
}

int fdatasync(int fd) {
    REAL(fdatasync);
    if (fault(1, fd)) return -1;
    int done = real(fd);
    if (!done) keep(fd);
    return done;
}

ssize_t write(int fd, const void *data, size_t n) {
    REAL(write);
    return fault(0, fd) ? -1 : real(fd, data, n);
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    REAL(pwrite64);
    return fault(0, fd) ? -1 : real(fd, data, n, at);
}

ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t at) {
    REAL(pwritev64);
    return fault(0, fd) ? -1 : real(fd, v, n, at);
}

ssize_t pwritev64v2(int fd, const struct iovec *v, int n, off64_t at, int flags) {
    REAL(pwritev64v2);
    return fault(0, fd) ? -1 : real(fd, v, n, at, flags);
}

ssize_t preadv64v2(int fd, const struct iovec *v, int n, off64_t at, int flags) {
    REAL(preadv64v2);
    return fault(2, fd) ? -1 : real(fd, v, n, at, flags);
}

ssize_t read(int fd, void *data, size_t n) {
    REAL(read);
    return fault(2, fd) ? -1 : real(fd, data, n);
}

ssize_t pread64(int fd, void *data, size_t n, off64_t at) {
    REAL(pread64);
    return fault(2, fd) ? -1 : real(fd, data, n, at);
}

ssize_t preadv64(int fd, const struct iovec *v, int n, off64_t at) {
    REAL(preadv64);
    return fault(2, fd) ? -1 : real(fd, v, n, at);
}

int open64(const char *path, int flags, ...) {
    REAL(open64);
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    if (control && control[3] && (flags & O_CREAT) && root && !strncmp(path, root, strlen(root)) &&
        strstr(path, (const char *)control + 16)) {
        errno = control[3];
        return -1;
    }
    return real(path, flags, mode);
}
