#pragma once

#include <cohort/duration.hpp>
#include <cohort/execution_backend.hpp>

#include <atomic>        // for std::atomic
#include <memory>        // for std::unique_ptr
#include <string>        // for std::string
#include <system_error>  // for std::error_code

namespace cohort::detail {

/// How a child process ended, and what it wrote.
struct ProcessEnd {
  int exit_code = 0;    // 128 + term_signal when a signal ended it
  int term_signal = 0;  // 0: it exited by itself
  std::string standard_output;
  std::string standard_error;
  bool truncated = false;  // one of them went over the limit
  bool stopped = false;    // it was asked to stop before it had ended
};

/// A child process in a process group of its own; where it lives is up to its owner, who keeps it until it has ended.
struct Process {
  /// Called once for each process that was started, on the monitor's thread, when nothing of it is left; the monitor
  /// does not touch it afterwards.
  void (*ended)(Process&) noexcept = nullptr;
  ProcessEnd end;

  // The monitor's: pid, pidfd, pipes, limit, deadline, whether a stop is asked for, links.
};

/// Starts child processes, waits for them and reads what they write, with one thread of its own; it starts with the
/// first child, and sleeps while nothing happens.
class ProcessMonitor {
 public:
  explicit ProcessMonitor(Duration kill_grace) noexcept;
  ProcessMonitor(const ProcessMonitor&) = delete;
  ProcessMonitor& operator=(const ProcessMonitor&) = delete;
  /// No process may be left.
  ~ProcessMonitor();

  /// Starts `task`, on the calling thread.
  /// *Throws*: `std::system_error` with the errno when it cannot be started, its text naming what could not be done:
  /// then `ended` is not called, and nothing is left behind. On a system without processes: TaskError.
  void start(Process& process, const ExecutableTask& task);

  /// Asks it to stop, from any thread, once or more, at any time between start()'s return and the end of the Process
  /// object's life: SIGTERM to its group, SIGKILL after the grace.
  void stop(Process& process) noexcept;

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace cohort::detail
