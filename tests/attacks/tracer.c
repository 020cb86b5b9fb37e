/* tracer start PROGRAM [ARG...]: runs PROGRAM under a debugger, which says "traced".
 * tracer seize PID: makes itself the debugger of a running process; says what came of it. */
#include "attack.h"

static int start(char **command) {
  pid_t child = fork();
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0) fail("PTRACE_TRACEME");
    run(command);
  }
  int status;
  if (waitpid(child, &status, 0) < 0 || !WIFSTOPPED(status)) fail("the program under trace");
  say("traced");
  int signal = 0;
  for (;;) {
    ptrace(PTRACE_CONT, child, 0, signal);
    if (waitpid(child, &status, 0) < 0) fail("waitpid");
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    if (WIFSIGNALED(status)) return 9;
    signal = WSTOPSIG(status);
  }
}

int main(int count, char **words) {
  if (count < 3) return 2;
  if (!strcmp(words[1], "start")) return start(words + 2);
  pid_t pid = number(words[2]);
  if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0) {
    say("seized");
    await_go();
    return 0;
  }
  say(errno == EPERM ? "not permitted" : strerror(errno));
  return 3;
}
