#include <cohort/errors.hpp>

#include <future>        // for std::future_error
#include <stdexcept>     // for std::invalid_argument
#include <string>        // for std::string
#include <system_error>  // for std::system_error

namespace cohort {

// Defined here so that each class has one home for its vtable and type information, whichever library throws or catches
// it.
Error::~Error() = default;
ExecutorShutdownError::~ExecutorShutdownError() = default;
CancelledError::~CancelledError() = default;
TimeoutError::~TimeoutError() = default;
InvalidStateError::~InvalidStateError() = default;
TaskError::~TaskError() = default;

namespace detail {

void throw_no_state() { throw std::future_error(std::future_errc::no_state); }
void throw_promise_already_satisfied() {
  throw InvalidStateError("the promise has been given its result already, or its future was cancelled");
}
void throw_would_deadlock() {
  throw std::system_error(std::make_error_code(std::errc::resource_deadlock_would_occur),
                          "a task cannot wait for its own future");
}
void throw_never_done() {
  throw std::system_error(std::make_error_code(std::errc::resource_deadlock_would_occur),
                          "nothing is left to run, no timer is set, and no other thread is expected (see "
                          "cohort::ManualPool::patience): the wait would never end");
}
void throw_cancelled(const char* what) { throw CancelledError(what); }
void throw_timeout(const char* what) { throw TimeoutError(what); }
void throw_invalid_state(const char* what) { throw InvalidStateError(what); }
void throw_invalid_argument(const char* what) { throw std::invalid_argument(what); }
void throw_shut_down() { throw ExecutorShutdownError(); }
void throw_needs_scheduler(const char* who) {
  throw InvalidStateError(std::string(who) + " needs a cohort task: await it in a Task, or under cohort::sync_wait");
}

}  // namespace detail
}  // namespace cohort
