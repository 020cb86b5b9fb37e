/* drop SOCKET UID: connects, becomes another user, and asks. */
#include "attack.h"

int main(int count, char **words) {
  if (count < 3) return 2;
  uid_t user = (uid_t)number(words[2]);
  int fd = dial(words[1], SOCK_CLOEXEC);
  if (setresgid(user, user, user) != 0 || setresuid(user, user, user) != 0) fail("setresuid");
  say("ready");
  await_go();
  return ask(fd);
}
