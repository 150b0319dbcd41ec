#include "app/cli.h"
#include "app/probe/probe_child.h"

// Read by jemalloc when it starts, before main; unused where another allocator is linked.
//   oversize_threshold:0   responses of many MiB are kept for the next one, not unmapped at once
//   dirty_decay_ms         how long freed memory may wait to be used again before it is returned
//   background_thread      one thread returns it, so that an idle worker shrinks, too
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf =
    "oversize_threshold:0,dirty_decay_ms:3000,muzzy_decay_ms:0,background_thread:true,"
    "max_background_threads:1";
}

int main(int argc, char** argv) {
  if (millrace::IsProbeChild(argc, argv)) return millrace::RunProbeChild();
  return millrace::RunCommandLine(argc, argv);
}
