#pragma once

#include <cohort/duration.hpp>
#include <cohort/execution_backend.hpp>

#include <array>    // for std::array
#include <atomic>   // for std::atomic
#include <cstddef>  // for std::size_t
#include <memory>   // for std::shared_ptr
#include <string>   // for std::string

namespace cohort::detail {

/// How a child process ended, and what it wrote.
struct ProcessEnd {
  int exit_code = 0;    // 128 + term_signal when a signal ended it; -1 when the application took its status itself
  int term_signal = 0;  // 0: it exited by itself
  std::string standard_output;
  std::string standard_error;
  bool truncated = false;  // one of them went over the limit
  bool stopped = false;    // it was asked to stop before it had ended
};

/// A child process in a process group of its own; where it lives is up to its owner, who keeps it until it has ended.
struct Process {
  /// Called once for each process that was started, on the monitor's thread, when nothing of it is left; the monitor
  /// does not touch it afterwards. It may start other processes, and destroy this one and the monitor.
  void (*ended)(Process&) noexcept = nullptr;
  ProcessEnd end;

  // The monitor's, from here on. Written by start(), then by the monitor's thread alone, but for the atomics.
  enum class Phase : unsigned char {
    running,
    terminated,  // SIGTERM was sent; SIGKILL is due
    killed,      // SIGKILL was sent: its pipes need not reach their end
    reaped,      // what was killed with it is still going
  };

  int pid = 0;                       // and its group's: it is not reaped before the pipes are done with
  int leader = -1;                   // its pidfd, until it has exited
  std::array<int, 2> pipes{-1, -1};  // of its output and error; -1: it is a file, or was read to its end
  std::size_t limit = 0;             // of each output
  Phase phase = Phase::running;
  bool leader_exited = false;
  TimePoint due = TimePoint::max();          // when there is something to do that no descriptor tells
  Duration delay{};                          // when reaped: until the next look at the group
  TimePoint give_up;                         // when reaped: when to look no more
  std::atomic<bool> stop_asked{false};       // by stop(), or by the owner before that may be called
  std::atomic<bool> leader_reported{false};  // by the thread that waits for it where there is no pidfd
  Process* next = nullptr;
  Process* previous = nullptr;
  bool linked = false;
};

/// Starts child processes, waits for them and reads what they write, with one thread of its own; it starts with the
/// first child, and sleeps while nothing happens.
class ProcessMonitor {
 public:
  /// `use_pidfd`: false is for tests of what is done where the system has no pidfd.
  explicit ProcessMonitor(Duration kill_grace, bool use_pidfd = true);
  ProcessMonitor(const ProcessMonitor&) = delete;
  ProcessMonitor& operator=(const ProcessMonitor&) = delete;
  /// No process may be left. In the child of a fork it leaves everything as it is.
  ~ProcessMonitor();

  /// Starts `task`, on the calling thread, as `process`, which must be new.
  /// *Throws*: `std::invalid_argument` when `task` cannot be the start of any process, and `std::system_error` with the
  /// errno when it cannot be started, its text naming what could not be done; ExecutorShutdownError in the child of a
  /// fork. Then `ended` is not called, and nothing is left behind. On a system without processes: TaskError.
  void start(Process& process, const ExecutableTask& task);

  /// Asks it to stop, from any thread, once or more, at any time between start()'s return and the end of the Process
  /// object's life: SIGTERM to its group, SIGKILL after the grace.
  void stop(Process& process) noexcept;

 private:
  class Implementation;
  std::shared_ptr<Implementation> implementation_;  // the thread's, too
};

}  // namespace cohort::detail
