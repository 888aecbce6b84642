#pragma once

#include <cohort/detail/awaitable.hpp>
#include <cohort/detail/scope.hpp>

#include <coroutine>   // for std::coroutine_handle
#include <stop_token>  // for std::stop_token

namespace cohort {

namespace detail {

struct [[nodiscard]] StopTokenAwaiter {
  [[nodiscard]] bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  [[nodiscard]] std::stop_token await_resume() const {
    return task != nullptr && task->scope != nullptr ? task->scope->token() : std::stop_token();
  }
  StateBase* task;
};

struct [[nodiscard]] GetStopToken {
  [[nodiscard]] StopTokenAwaiter bind(StateBase* task) const noexcept { return {task}; }
  [[nodiscard]] StopTokenAwaiter operator co_await() const noexcept { return {nullptr}; }
};

}  // namespace detail

/// `co_await get_stop_token()` gives the token by which the task is asked to stop; it does not suspend.
///
/// A submitted task has its own; the tasks that it awaits, and those under its `when_all`, share it. In a stranger's
/// coroutine: a token that never stops.
/// *Throws*: `std::bad_alloc`: the token is made for the first who asks.
[[nodiscard]] inline detail::GetStopToken get_stop_token() noexcept { return {}; }

}  // namespace cohort
