/* A process that does what its first argument says, tells "ready", and waits for a line or the end
 * of its input. Built by the tests that need more than the test program can do by itself. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(int failed)
{
    if (failed) {
        perror("program");
        exit(1);
    }
}

static void map(int flags, int file)
{
    check(mmap(0, 4096, PROT_READ | PROT_EXEC, flags, file, 0) == MAP_FAILED);
}

/* Writes what is there already, which makes the page the process's own. */
static void write_code(char *code)
{
    char *page = (char *)((unsigned long)code & ~4095UL);
    check(mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC));
    *(volatile char *)code = *code;
    check(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}

static void *thread(void *number)
{
    *(volatile int *)number = syscall(SYS_gettid);
    for (;;)
        pause();
}

/* Starts threads and returns the number of the last one. */
static int threads(int count)
{
    static volatile int number;
    for (int i = 0; i < count; i++) {
        pthread_t started;
        number = 0;
        check(pthread_create(&started, 0, thread, (void *)&number));
        while (!number)
            sched_yield();
    }
    return number;
}

static void filter(void)
{
    struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog all = { 1, &allow };
    check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all));
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "";
    const char *more = count > 2 ? arguments[2] : "";
    int number = 0;
    char byte;
    if (!strcmp(what, "private")) {
        map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    } else if (!strcmp(what, "shared")) {
        map(MAP_SHARED | MAP_ANONYMOUS, -1);
    } else if (!strcmp(what, "zero")) {
        map(MAP_PRIVATE, open("/dev/zero", O_RDWR));
    } else if (!strcmp(what, "memfd")) {
        int file = memfd_create("library", 0);
        check(ftruncate(file, 4096));
        map(MAP_PRIVATE, file);
    } else if (!strcmp(what, "written")) {
        write_code((char *)dlsym(RTLD_DEFAULT, "qsort"));
    } else if (!strcmp(what, "threads")) {
        number = threads(atoi(more));
    } else if (!strcmp(what, "trace")) {
        check(ptrace(PTRACE_SEIZE, atoi(more), 0, 0));
    } else if (!strcmp(what, "strict")) {
        check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
        /* Nothing but read, write and exit from here on. */
        while (write(1, "ready 0\n", 8) == 8 && read(0, &byte, 1) == 1)
            ;
        syscall(SYS_exit, 0);
    } else if (!strcmp(what, "filter")) {
        filter();
    } else if (!strcmp(what, "undumpable")) {
        check(prctl(PR_SET_DUMPABLE, 0));
    } else if (!strcmp(what, "setuid")) {
        check(setuid(65534));
    }
    printf("ready %d\n", number);
    fflush(stdout);
    while (read(0, &byte, 1) == 1) {
        if (byte != '\n')
            continue;
        if (!strcmp(what, "load"))
            check(!dlopen(more, RTLD_NOW));
        else if (!strcmp(what, "write"))
            write_code((char *)dlsym(RTLD_DEFAULT, "qsort"));
        printf("ready 0\n");
        fflush(stdout);
    }
    return 0;
}
