/* mouthpiece SOCKET FD PROGRAM [ARG...]: connects and becomes PROGRAM with the socket
 * as its descriptor FD ("adopt": by socket activation). PROGRAM copies its input to it;
 * an accomplice reads the agent's bytes and says its own through that input. */
#include "attack.h"

static int input;

static ssize_t spoken(int fd, const void *bytes, size_t count) {
  (void)fd;
  return write(input, bytes, count);
}

int main(int count, char **words) {
  if (count < 4) return 2;
  bool adopted = !strcmp(words[2], "adopt");
  int ends[2];
  int fd = fcntl(dial(words[1], SOCK_CLOEXEC), F_DUPFD_CLOEXEC, 20);
  if (pipe2(ends, O_CLOEXEC) != 0) fail("pipe2");
  /* Out of the way of the descriptors that PROGRAM gets. */
  for (int at = 0; at < 2; at++) {
    int low = ends[at];
    ends[at] = fcntl(low, F_DUPFD_CLOEXEC, 30);
    close(low);
  }
  pid_t self = getpid();
  if (accomplice(adopted ? 4 : -1) == 0) {
    input = ends[1];
    put = spoken;
    finish(self, ask(fd));
  }
  if (dup2(ends[0], 0) < 0 || dup2(fd, adopted ? 3 : number(words[2])) < 0) fail("dup2");
  if (adopted) {
    char pid[16];
    snprintf(pid, sizeof pid, "%d", self);
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "1", 1);
  }
  run(words + 3);
}
