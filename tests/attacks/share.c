/* share SOCKET MANNER [PROGRAM...]: connects, and lets another process use the socket:
 *   fork     a child that inherits it
 *   rights   a process that got it over SCM_RIGHTS; this one keeps it too
 *   passed   the same, and this one closes its own
 *   files    a child with the same descriptor table (CLONE_FILES)
 *   table    a child with the same descriptor table connects and becomes PROGRAM; this
 *            process asks
 *   reexec   nobody else: this program once more, by execve, in the middle of the call */
#include "attack.h"

static const char *path;
static int connection = -1;
static char **program;

static int use(void *unused) {
  (void)unused;
  _exit(ask(connection));
}

static int connect_and_become(void *gate) {
  connection = dial(path, 0);
  fcntl(connection, F_SETFD, FD_CLOEXEC);
  (void)gate;
  run(program);
  return 0;
}

static int in_child(int flags, int (*body)(void *)) {
  static char stack[1 << 18];
  pid_t child = clone(body, stack + sizeof stack, flags | SIGCHLD, NULL);
  if (child < 0) fail("clone");
  return child;
}

static int result_of(pid_t child) {
  int status;
  if (waitpid(child, &status, 0) < 0) fail("waitpid");
  return WIFEXITED(status) ? WEXITSTATUS(status) : 9;
}

static int by_rights(bool keep) {
  int channel[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, channel) != 0) fail("socketpair");
  pid_t child = fork();
  if (child == 0) {
    int fd = take(channel[1]);
    char c;
    if (read(channel[1], &c, 1) != 1) fail("the other's word");
    _exit(ask(fd));
  }
  connection = dial(path, SOCK_CLOEXEC);
  pass(channel[0], connection, "x", 1);
  if (!keep) close(connection);
  send_all(channel[0], "x", 1);
  return result_of(child);
}

/* The table is shared from before the connection until the child's execve. */
static int by_table(void) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0 || dup2(ends[1], BEGUN) < 0) fail("pipe2");
  pid_t child = in_child(CLONE_FILES | CLONE_VM | CLONE_VFORK, connect_and_become);
  /* The child's table is its own by now, and closed there when PROGRAM has begun. */
  char c;
  close(ends[1]);
  close(BEGUN);
  if (read(ends[0], &c, 1) != 0) fail("the program");
  int result = ask(connection);
  kill(child, SIGKILL);
  result_of(child);
  return result;
}

static int again(char **words) {
  connection = dial(path, 0);
  send_preface(connection);
  if (read_until(connection, SETTINGS)) answer(connection, &latest);
  if (getenv("PINGED") && read_until(connection, PING)) answer(connection, &latest);
  char number[16];
  snprintf(number, sizeof number, "%d", connection);
  char *command[] = {words[0], words[1], "continue", number, NULL};
  run(command);
  return 0;
}

int main(int count, char **words) {
  if (count < 3) return 2;
  const char *manner = words[2];
  path = words[1];
  program = words + 3;
  if (!strcmp(manner, "rights")) return by_rights(true);
  if (!strcmp(manner, "passed")) return by_rights(false);
  if (!strcmp(manner, "table")) return by_table();
  if (!strcmp(manner, "reexec")) return again(words);
  if (!strcmp(manner, "continue")) {
    send_request(number(words[3]));
    return outcome(number(words[3]));
  }
  connection = dial(path, SOCK_CLOEXEC);
  int flags = !strcmp(manner, "files") ? CLONE_FILES : 0;
  return result_of(in_child(flags, use));
}
