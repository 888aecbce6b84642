#pragma once

#include <stdexcept>  // for std::runtime_error
#include <string>     // for std::string

namespace cohort {

/// The base of every error that the library itself reports at run time.
///
/// Bad arguments are `std::invalid_argument`; a future or promise without a state is `std::future_error`, as in the
/// standard library.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& what) : std::runtime_error(what) {}
  explicit Error(const char* what) : std::runtime_error(what) {}
  Error(const Error&) = default;
  Error& operator=(const Error&) = default;
  ~Error() override;
};

/// Work was given to an executor that had been shut down. The work was not taken: it will not run.
class ExecutorShutdownError : public Error {
 public:
  explicit ExecutorShutdownError(const std::string& what = "the executor has been shut down") : Error(what) {}
  ExecutorShutdownError(const ExecutorShutdownError&) = default;
  ExecutorShutdownError& operator=(const ExecutorShutdownError&) = default;
  ~ExecutorShutdownError() override;
};

/// A task was cancelled, or a wait ended because the waiting task was asked to stop.
///
/// A task that lets it escape ends as cancelled, whoever threw it.
class CancelledError : public Error {
 public:
  explicit CancelledError(const std::string& what = "the task was cancelled") : Error(what) {}
  CancelledError(const CancelledError&) = default;
  CancelledError& operator=(const CancelledError&) = default;
  ~CancelledError() override;
};

/// A deadline passed before the result was there. What was waited for goes on; an attempt with a
/// SubmitOptions::timeout has been asked to stop, and has ended.
class TimeoutError : public Error {
 public:
  explicit TimeoutError(const std::string& what = "timed out") : Error(what) {}
  TimeoutError(const TimeoutError&) = default;
  TimeoutError& operator=(const TimeoutError&) = default;
  ~TimeoutError() override;
};

/// An object was used in a state that does not allow it: a result that was set twice, or read after it was moved out.
class InvalidStateError : public Error {
 public:
  explicit InvalidStateError(const std::string& what = "invalid state") : Error(what) {}
  InvalidStateError(const InvalidStateError&) = default;
  InvalidStateError& operator=(const InvalidStateError&) = default;
  ~InvalidStateError() override;
};

/// A task run by an execution backend failed; the text names it.
class TaskError : public Error {
 public:
  explicit TaskError(const std::string& what) : Error(what) {}
  TaskError(const TaskError&) = default;
  TaskError& operator=(const TaskError&) = default;
  ~TaskError() override;
};

namespace detail {

// Thrown out of line: the throwing code stays off the hot paths, and the headers need neither <future> nor the cost of
// it.
[[noreturn]] void throw_no_state();
[[noreturn]] void throw_promise_already_satisfied();
[[noreturn]] void throw_would_deadlock();
[[noreturn]] void throw_never_done();
[[noreturn]] void throw_cancelled(const char* what);
[[noreturn]] void throw_timeout(const char* what);
[[noreturn]] void throw_invalid_state(const char* what);
[[noreturn]] void throw_invalid_argument(const char* what);
[[noreturn]] void throw_shut_down();
[[noreturn]] void throw_needs_scheduler(const char* who);

}  // namespace detail
}  // namespace cohort
