#pragma once

#include <cohort/detail/state.hpp>

#include <exception>  // for std::exception_ptr

namespace cohort::detail {

/// Foreign code to run when a future is done. It is a waiter that is not notified but collected, and run when everybody
/// who waits has been woken.
struct CallbackNode : Waiter {
  /// Runs the callback, and frees the node. Does not throw: see report_callback_exception().
  void (*run)(CallbackNode&) noexcept = nullptr;
};

/// Callbacks to run, in order. Deep chains (a callback that completes a future whose callback completes …) are
/// unrolled: beyond some depth they are left to the stack's outermost list.
class CallbackList {
 public:
  void push(CallbackNode& node) noexcept;
  void run() noexcept;

 private:
  Waiter* first_ = nullptr;
  Waiter* last_ = nullptr;
};

/// Hands the exception being handled to the executor of `home`, when there is one, and it is still there; otherwise one line
/// goes to stderr.
void report_callback_exception(Scheduler* home) noexcept;

/// One line on stderr about an exception that nobody took.
void report_to_stderr(const std::exception_ptr& exception) noexcept;

}  // namespace cohort::detail
