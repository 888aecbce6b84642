#pragma once

#include "descriptor.hpp"

#include <cohort/execution_backend.hpp>

namespace cohort::detail {

// A child process that was started. Who has it must reap it.
struct Spawned {
  int pid = 0;        // and that of its process group
  Descriptor output;  // the read end of a pipe that does not block; none when it goes to a file
  Descriptor error;
};

// Starts `task` on the calling thread; any number of threads may. *Throws*: see ProcessMonitor::start().
[[nodiscard]] Spawned spawn(const ExecutableTask& task);

}  // namespace cohort::detail
