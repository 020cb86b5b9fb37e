/* ask SOCKET [MANNER]: a call, in one of these manners:
 *   plain      as any client
 *   bytes      a byte at a time
 *   silent     never answers the PING
 *   twice      answers it twice
 *   wrong      answers it with another payload
 *   thread     another thread answers it
 *   child      another process answers it
 *   renamed    under a title and a comm of its own
 *   quit-N     exits at step N of the way
 *   late       says "ready" and waits before it connects
 *   pause      says "ready" and waits once it is accepted, before it asks */
#include "attack.h"
#include <pthread.h>

static ssize_t one_byte(int fd, const void *bytes, size_t count) {
  return send(fd, bytes, count ? 1 : 0, MSG_NOSIGNAL);
}

static bool silent(int fd, const struct frame *frame) {
  return frame->kind == PING || answer_plainly(fd, frame);
}

static bool twice(int fd, const struct frame *frame) {
  return answer_plainly(fd, frame) && (frame->kind != PING || answer_plainly(fd, frame));
}

static bool wrong(int fd, const struct frame *frame) {
  static const char payload[8] = "no such";
  return frame->kind == PING ? ack(fd, PING, payload, sizeof payload) : answer_plainly(fd, frame);
}

static int asked_fd;

static void *answer_once(void *frame) {
  answer_plainly(asked_fd, frame);
  return NULL;
}

static bool in_thread(int fd, const struct frame *frame) {
  pthread_t thread;
  asked_fd = fd;
  if (pthread_create(&thread, NULL, answer_once, (void *)frame) != 0) fail("pthread_create");
  pthread_join(thread, NULL);
  return true;
}

static bool in_child(int fd, const struct frame *frame) {
  if (frame->kind != PING) return answer_plainly(fd, frame);
  pid_t child = fork();
  if (child == 0) {
    answer_plainly(fd, frame);
    _exit(0);
  }
  waitpid(child, NULL, 0);
  return true;
}

/* Exits at a step: 0 connected, 1 within the preface, 2 after it, 3 after the server's
 * SETTINGS, 4 after its first PING or the request, 5 after the answers, 6 within the request,
 * 7 after all that the proof and the call take, 8 with the first bytes of the answer. */
static int quit_at(int fd, int step) {
  uint8_t bytes[1024];
  if (step == 1) send_all(fd, "PRI * HTTP", 10);
  if (step >= 2) send_preface(fd);
  if (step >= 3) read_until(fd, SETTINGS);
  if (step >= 4) send_request(fd);
  if (step >= 5) ack(fd, SETTINGS, "", 0);
  if (step == 6) send_all(fd, bytes, request(bytes) / 2);
  if (step >= 7 && read_until(fd, PING)) answer(fd, &latest);
  if (step == 8) read_until(fd, HEADERS);
  say("gone");
  _exit(0);
}

int main(int count, char **words) {
  if (count < 2) return 2;
  const char *manner = count > 2 ? words[2] : "plain";
  if (!strcmp(manner, "renamed")) {
    prctl(PR_SET_NAME, count > 3 ? words[3] : "victim");
    memset(words[0], 'v', strlen(words[0]));
  }
  if (!strcmp(manner, "bytes")) put = one_byte;
  if (!strcmp(manner, "silent")) answer = silent;
  if (!strcmp(manner, "twice")) answer = twice;
  if (!strcmp(manner, "wrong")) answer = wrong;
  if (!strcmp(manner, "thread")) answer = in_thread;
  if (!strcmp(manner, "child")) answer = in_child;
  if (!strcmp(manner, "late")) {
    say("ready");
    await_go();
  }
  int fd = dial(words[1], SOCK_CLOEXEC);
  if (!strncmp(manner, "quit-", 5)) return quit_at(fd, number(manner + 5));
  if (!strcmp(manner, "pause")) {
    /* The server's first frame says that it has accepted the connection. */
    if (send_preface(fd) && read_until(fd, SETTINGS)) answer(fd, &latest);
    say("ready");
    await_go();
    send_request(fd);
    return outcome(fd);
  }
  return ask(fd);
}
