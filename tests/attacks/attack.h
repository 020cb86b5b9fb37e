/* What the attack programs share: a Workload API client small enough to be cut
 * anywhere. It speaks HTTP/2 (RFC 9113) and gRPC by hand on a blocking socket,
 * so that a program decides who sends which bytes and when.
 *
 * A program prints one line for each thing that happened, and the last one is
 * the outcome of the call:
 *   credential ID   an answer that names a SPIFFE ID arrived
 *   refused         the call was answered without one
 *   closed          the connection ended first
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

static UNUSED void fail(const char *step) {
  fprintf(stderr, "%s: %s\n", step, strerror(errno));
  _exit(9);
}

static UNUSED void say(const char *line) {
  printf("%s\n", line);
  fflush(stdout);
}

/* Waits for a line from the test. */
static UNUSED void await_go(void) {
  char c;
  do {
    if (read(0, &c, 1) != 1) fail("the word to go on");
  } while (c != '\n');
}

/* Kernel IDs as the test names them. */
static UNUSED int number(const char *text) { return (int)strtol(text, NULL, 10); }

/* --- bytes ------------------------------------------------------------------ */

/* How bytes leave; a program that sends them in another way puts its own here. */
static ssize_t plainly(int fd, const void *bytes, size_t count) {
  return send(fd, bytes, count, MSG_NOSIGNAL);
}
static UNUSED ssize_t (*put)(int, const void *, size_t) = plainly;

/* False once the other end has closed. */
static UNUSED bool send_all(int fd, const void *bytes, size_t count) {
  const char *at = bytes;
  while (count > 0) {
    ssize_t sent = put(fd, at, count);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    at += sent;
    count -= (size_t)sent;
  }
  return true;
}

static UNUSED bool receive_all(int fd, void *bytes, size_t count) {
  char *at = bytes;
  while (count > 0) {
    ssize_t got = read(fd, at, count);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += got;
    count -= (size_t)got;
  }
  return true;
}

/* A connection to the socket at PATH; FLAGS as for socket(2). */
static UNUSED int dial(const char *path, int flags) {
  int fd = socket(AF_UNIX, SOCK_STREAM | flags, 0);
  if (fd < 0) fail("socket");
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  strncpy(to.sun_path, path, sizeof to.sun_path - 1);
  if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) fail("connect");
  return fd;
}

/* --- frames ----------------------------------------------------------------- */

enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };

struct frame {
  uint32_t length;
  uint8_t kind, flags;
  uint8_t payload[1 << 20];
};

static UNUSED bool send_frame(int fd, uint8_t kind, uint8_t flags, uint8_t stream,
                              const void *payload, size_t length) {
  uint8_t bytes[9 + 4096] = {0, (uint8_t)(length >> 8), (uint8_t)length, kind, flags, 0, 0, 0,
                             stream};
  memcpy(bytes + 9, payload, length);
  return send_all(fd, bytes, 9 + length);
}

static UNUSED bool next_frame(int fd, struct frame *frame) {
  uint8_t head[9];
  if (!receive_all(fd, head, sizeof head)) return false;
  frame->length = (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2];
  frame->kind = head[3];
  frame->flags = head[4];
  if (frame->length > sizeof frame->payload) fail("a frame of a sane size");
  return receive_all(fd, frame->payload, frame->length);
}

static UNUSED bool send_preface(int fd) {
  static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
  return send_all(fd, preface, sizeof preface - 1);
}

/* Appends a header with a name of its own or, where NAME is null, one of the static table. */
static size_t header(uint8_t *block, size_t at, uint8_t index, const char *name,
                     const char *value) {
  block[at++] = index;
  if (name) {
    block[at++] = (uint8_t)strlen(name);
    memcpy(block + at, name, strlen(name));
    at += strlen(name);
  }
  block[at++] = (uint8_t)strlen(value);
  memcpy(block + at, value, strlen(value));
  return at + strlen(value);
}

/* FetchX509SVID on stream 1, whole; CALL in the environment is another method with an empty
 * message, whose answer names a SPIFFE ID where it is given. */
static UNUSED size_t request(uint8_t *bytes) {
  const char *call = getenv("CALL");
  uint8_t block[512] = {0x83, 0x86};
  size_t length = 2;
  length = header(block, length, 4, NULL, call ? call : "/SpiffeWorkloadAPI/FetchX509SVID");
  length = header(block, length, 1, NULL, "localhost");
  length = header(block, length, 0, "content-type", "application/grpc");
  length = header(block, length, 0, "te", "trailers");
  length = header(block, length, 0, "workload.spiffe.io", "true");
  uint8_t head[9] = {0, (uint8_t)(length >> 8), (uint8_t)length, HEADERS, END_HEADERS, 0, 0, 0, 1};
  static const uint8_t body[14] = {0, 0, 5, DATA, END_STREAM, 0, 0, 0, 1, 0, 0, 0, 0, 0};
  memcpy(bytes, head, 9);
  memcpy(bytes + 9, block, length);
  memcpy(bytes + 9 + length, body, sizeof body);
  return 9 + length + sizeof body;
}

static UNUSED bool send_request(int fd) {
  uint8_t bytes[1024];
  return send_all(fd, bytes, request(bytes));
}

/* --- the call --------------------------------------------------------------- */

static UNUSED bool ack(int fd, uint8_t kind, const void *payload, size_t length) {
  return send_frame(fd, kind, ACK, 0, payload, length);
}

/* Answers the server's SETTINGS and PINGs as a client of good will does. */
static UNUSED bool answer_plainly(int fd, const struct frame *frame) {
  if (frame->flags & ACK) return true;
  if (frame->kind == SETTINGS) return ack(fd, SETTINGS, "", 0);
  if (frame->kind == PING) return ack(fd, PING, frame->payload, frame->length);
  return true;
}

/* How SETTINGS and PINGs are answered. */
static UNUSED bool (*answer)(int, const struct frame *) = answer_plainly;

static struct frame latest;

/* Reads until a frame of KIND that is no acknowledgement; false where the end comes first. */
static UNUSED bool read_until(int fd, uint8_t kind) {
  while (next_frame(fd, &latest))
    if (latest.kind == kind && !(latest.flags & ACK)) return true;
  return false;
}

/* The SPIFFE ID in the latest frame, or null. */
static UNUSED const char *named(void) {
  static char id[256];
  static const char scheme[] = "spiffe://";
  const uint8_t *found = memmem(latest.payload, latest.length, scheme, sizeof scheme - 1);
  if (!found) return NULL;
  size_t length = 0;
  while (found + length < latest.payload + latest.length && length < sizeof id - 1 &&
         (strchr(":/._-", found[length]) || (found[length] >= '0' && found[length] <= '9') ||
          (found[length] >= 'a' && found[length] <= 'z')) &&
         found[length])
    length++;
  memcpy(id, found, length);
  id[length] = 0;
  return id;
}

/* Reads until the call has an outcome and prints it, with WHO in front of it. */
static UNUSED int outcome_for(int fd, const char *who) {
  while (next_frame(fd, &latest)) {
    if (latest.kind == DATA && named()) {
      printf("%scredential %s\n", who, named());
      fflush(stdout);
      return 0;
    }
    if (latest.kind == RST_STREAM || (latest.kind == HEADERS && latest.flags & END_STREAM)) {
      printf("%srefused\n", who);
      fflush(stdout);
      return 3;
    }
    if (!answer(fd, &latest)) break;
  }
  printf("%sclosed\n", who);
  fflush(stdout);
  return 4;
}

static UNUSED int outcome(int fd) { return outcome_for(fd, ""); }

/* The whole call, as a client of good will makes it. */
static UNUSED int ask(int fd) {
  if (send_preface(fd)) send_request(fd);
  return outcome(fd);
}

/* --- an accomplice ----------------------------------------------------------- */

/* The descriptor that a registered program of ours closes as it begins. The kernel closes what
 * has close-on-exec in the middle of an execve, when not all of the new program shows yet. */
enum { BEGUN = 9 };

/* Makes an accomplice: a child that says "ready" once this process has called
 * execve, and goes on at the test's word. With GATE, it waits for that descriptor
 * to be closed by the program.
 * Returns 0 in the child, and its PID in the parent. */
static UNUSED pid_t accomplice(int gate) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) fail("pipe2");
  pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    char c;
    close(ends[1]);
    if (read(ends[0], &c, 1) != 0) fail("the parent's execve");
    close(ends[0]);
    say("ready");
    await_go();
    return 0;
  }
  close(ends[0]);
  if (gate >= 0 && (dup2(ends[1], gate) < 0 || close(ends[1]) != 0)) fail("dup2");
  return child;
}

/* The accomplice's end, and that of the program it worked with. */
static UNUSED void finish(pid_t program, int code) {
  kill(program, SIGKILL);
  exit(code);
}

static UNUSED void run(char **command) {
  execvp(command[0], command);
  fail(command[0]);
}

/* Sends DESCRIPTOR over the socket CHANNEL. */
static UNUSED ssize_t pass(int channel, int descriptor, const void *bytes, size_t count) {
  char control[CMSG_SPACE(sizeof(int))] = {0};
  struct iovec data = {(void *)bytes, count};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
                           .msg_controllen = sizeof control};
  struct cmsghdr *head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(head), &descriptor, sizeof descriptor);
  return sendmsg(channel, &message, MSG_NOSIGNAL);
}

static UNUSED int take(int channel) {
  char byte, control[CMSG_SPACE(sizeof(int))];
  struct iovec data = {&byte, 1};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
                           .msg_controllen = sizeof control};
  if (recvmsg(channel, &message, MSG_CMSG_CLOEXEC) <= 0) fail("recvmsg");
  int descriptor;
  struct cmsghdr *head = CMSG_FIRSTHDR(&message);
  if (!head) fail("a passed descriptor");
  memcpy(&descriptor, CMSG_DATA(head), sizeof descriptor);
  return descriptor;
}
