#include "base/processors.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>

int usable_processors() {
    cpu_set_t allowed;
    return sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed)
                                                               : std::max(1, int(sysconf(_SC_NPROCESSORS_ONLN)));
}
