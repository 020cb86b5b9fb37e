/* flood SOCKET COUNT: opens COUNT connections, as many as it is let, and holds them
 * until the test's word. */
#include "attack.h"
#include <sys/resource.h>

int main(int count, char **words) {
  if (count < 3) return 2;
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) fail("getrlimit");
  files.rlim_cur = files.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &files) != 0) fail("setrlimit");
  int opened = 0;
  for (; opened < number(words[2]); opened++) {
    int fd = dial(words[1], SOCK_CLOEXEC);
    if (opened % 2) send_preface(fd);
    if (opened % 4 == 3) send_request(fd);
  }
  printf("opened %d\n", opened);
  say("ready");
  await_go();
  return 0;
}
