/* ancillary SOCKET WHEN COUNT: pushes descriptors at the agent beside the bytes of a call:
 * "first" with the preface, "later" with the request. COUNT times, each on its own connection. */
#include "attack.h"

static int pushed;

static ssize_t with_descriptor(int fd, const void *bytes, size_t count) {
  return pass(fd, pushed, bytes, count);
}

int main(int count, char **words) {
  if (count < 4) return 2;
  bool first = !strcmp(words[2], "first");
  int result = 0;
  pushed = open("/dev/null", O_RDONLY | O_CLOEXEC);
  for (int at = 0; at < number(words[3]); at++) {
    int fd = dial(words[1], SOCK_CLOEXEC);
    put = first ? with_descriptor : plainly;
    send_preface(fd);
    put = with_descriptor;
    send_request(fd);
    put = plainly;
    result = outcome(fd);
    close(fd);
  }
  return result;
}
