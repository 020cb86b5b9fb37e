/* A registered program that does nothing on the Workload API. Whoever waits for it to
 * begin hears it close BEGUN. */
#include "attack.h"

int main(void) {
  close(BEGUN);
  pause();
  return 0;
}
