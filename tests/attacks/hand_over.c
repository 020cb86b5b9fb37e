/* hand_over SOCKET ORDER KEEP PROGRAM [ARG...]: connects, makes an accomplice that
 * keeps the socket, and becomes PROGRAM, whose identity the accomplice then asks for.
 *
 * ORDER, what this process does itself before it becomes PROGRAM:
 *   nothing      it connects
 *   preface      it sends the preface as well
 *   answers      it answers the server's first frames as well
 *   everything   it makes the whole call itself, its last bytes at the test's word; the
 *                accomplice only reads
 *   advance      it sends the preface and answers to PINGs that it guesses
 *   vm           as nothing, with an accomplice that shares its memory (CLONE_VM)
 * KEEP: the descriptor under which PROGRAM finds the socket, "adopt" for socket
 * activation (LISTEN_FDS), or "-" where it has none.
 * PROGRAM closes BEGUN, or for "adopt" all that it does not know, as it begins.
 * With FORGE in the environment, the accomplice names the connector as the sender of
 * its bytes (SCM_CREDENTIALS). */
#include "attack.h"

static pid_t connector;

static ssize_t forged(int fd, const void *bytes, size_t count) {
  char control[CMSG_SPACE(sizeof(struct ucred))] = {0};
  struct iovec data = {(void *)bytes, count};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
                           .msg_controllen = sizeof control};
  struct cmsghdr *head = CMSG_FIRSTHDR(&message);
  struct ucred named = {connector, getuid(), getgid()};
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_CREDENTIALS;
  head->cmsg_len = CMSG_LEN(sizeof named);
  memcpy(CMSG_DATA(head), &named, sizeof named);
  ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
  if (sent < 0 && errno == EPERM) fail("a forged sender");
  return sent;
}

static bool answer_settings(int fd, const struct frame *frame) {
  return frame->kind == PING || answer_plainly(fd, frame);
}

static void prepare(int fd, const char *order) {
  static const uint8_t guesses[][8] = {{0}, {1, 2, 3, 4, 5, 6, 7, 8}, "symbolon"};
  if (!strcmp(order, "nothing") || !strcmp(order, "vm")) return;
  send_preface(fd);
  if (!strcmp(order, "advance"))
    for (size_t at = 0; at < sizeof guesses / 8; at++) ack(fd, PING, guesses[at], 8);
  bool everything = !strcmp(order, "everything");
  if (!everything && strcmp(order, "answers")) return;
  if (!read_until(fd, SETTINGS)) return;
  answer(fd, &latest);
  /* Servers that ask with a PING do so behind their SETTINGS; others have sent nothing more. */
  bool asked = getenv("PINGED") && read_until(fd, PING);
  if (everything) {
    say("asked");
    await_go();
  }
  if (asked) answer(fd, &latest);
  if (everything) send_request(fd);
}

static int borrow(int fd, const char *order) {
  connector = getppid();
  if (getenv("FORGE")) put = forged;
  if (!strcmp(order, "advance")) answer = answer_settings;
  bool begun = strcmp(order, "nothing") && strcmp(order, "vm");
  if (!begun) send_preface(fd);
  if (strcmp(order, "everything")) send_request(fd);
  return outcome(fd);
}

/* What the two share. */
struct accomplice {
  int fd;
  int gate[2];
  const char *order;
};

static int sharing(void *argument) {
  const struct accomplice *with = argument;
  char c;
  close(with->gate[1]);
  if (read(with->gate[0], &c, 1) != 0) fail("the parent's execve");
  say("ready");
  await_go();
  int code = borrow(with->fd, with->order);
  kill(connector, SIGKILL);
  _exit(code);
}

static void share_memory(struct accomplice *with) {
  static char stack[1 << 18];
  if (pipe2(with->gate, O_CLOEXEC) != 0) fail("pipe2");
  if (clone(sharing, stack + sizeof stack, CLONE_VM | SIGCHLD, with) < 0) fail("clone");
  close(with->gate[0]);
  /* Only this process's table: the memory is the accomplice's too. */
  if (dup2(with->gate[1], BEGUN) < 0 || close(with->gate[1]) != 0) fail("dup2");
}

static void activate(void) {
  char pid[16];
  snprintf(pid, sizeof pid, "%d", getpid());
  setenv("LISTEN_PID", pid, 1);
  setenv("LISTEN_FDS", "1", 1);
}

int main(int count, char **words) {
  if (count < 5) return 2;
  const char *order = words[2], *keep = words[3];
  bool adopted = !strcmp(keep, "adopt");
  int fd = fcntl(dial(words[1], SOCK_CLOEXEC), F_DUPFD_CLOEXEC, 20);
  prepare(fd, order);
  if (!strcmp(order, "vm")) {
    static struct accomplice with;
    with = (struct accomplice){.fd = fd, .order = order};
    share_memory(&with);
  } else {
    pid_t parent = getpid();
    if (accomplice(adopted ? 4 : BEGUN) == 0) finish(parent, borrow(fd, order));
  }
  if (adopted) activate();
  if (*keep != '-') {
    int at = adopted ? 3 : number(keep);
    if (dup2(fd, at) < 0) fail("dup2");
  }
  run(words + 4);
}
