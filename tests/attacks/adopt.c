/* A registered program with socket activation: it adopts the descriptors of
 * LISTEN_FDS, sets close-on-exec on them as sd_listen_fds does, closes all it
 * does not know, and waits. With `echo`, it also copies its input to the first. */
#include "attack.h"

int main(int count, char **words) {
  const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
  if (!pid || !fds || number(pid) != getpid()) return 1;
  int last = 2 + number(fds);
#ifndef KEEP_INHERITABLE
  for (int fd = 3; fd <= last; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);
#endif
  syscall(SYS_close_range, last + 1, ~0U, 0);
  char bytes[4096];
  ssize_t got;
  while (count > 1 && !strcmp(words[1], "echo") && (got = read(0, bytes, sizeof bytes)) > 0)
    send_all(3, bytes, (size_t)got);
  pause();
  return 0;
}
