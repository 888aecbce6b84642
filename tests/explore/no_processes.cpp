// In place of src/process_*.cpp: the scenarios start no programs.
#include "process.hpp"

#include <cohort/errors.hpp>

namespace cohort::detail {

class ProcessMonitor::Implementation {};

ProcessMonitor::ProcessMonitor(Duration, bool) {}
ProcessMonitor::~ProcessMonitor() = default;
void ProcessMonitor::start(Process&, const ExecutableTask&) { throw TaskError("no processes here"); }
void ProcessMonitor::stop(Process&) noexcept {}

}  // namespace cohort::detail
