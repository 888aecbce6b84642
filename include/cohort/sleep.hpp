#pragma once

#include <cohort/detail/awaitable.hpp>
#include <cohort/detail/suspension.hpp>
#include <cohort/duration.hpp>

#include <chrono>     // for std::chrono::duration
#include <coroutine>  // for std::coroutine_handle

namespace cohort {

namespace detail {

/// Waits for a point in time.
class [[nodiscard]] SleepAwaiter {
 public:
  SleepAwaiter(TimePoint time, StateBase* task) noexcept : sleeping_(task, time) {}
  SleepAwaiter(const SleepAwaiter&) = delete;
  SleepAwaiter& operator=(const SleepAwaiter&) = delete;

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  COHORT_SUSPEND_OUT_OF_LINE bool await_suspend(std::coroutine_handle<> handle) { return wait(handle); }
  void await_resume() const {
    if (sleeping_.reason() == Wake::stopped) throw_unless_ready(Wake::stopped, "");
  }

 private:
  bool wait(std::coroutine_handle<> handle);

  Suspension sleeping_;
};

/// Goes to the end of the queue.
class [[nodiscard]] YieldAwaiter {
 public:
  explicit YieldAwaiter(StateBase* task) noexcept : task_(task) {}
  YieldAwaiter(const YieldAwaiter&) = delete;
  YieldAwaiter& operator=(const YieldAwaiter&) = delete;

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  COHORT_SUSPEND_OUT_OF_LINE void await_suspend(std::coroutine_handle<> handle) { go_last(handle); }
  void await_resume() const noexcept {}

 private:
  void go_last(std::coroutine_handle<> handle);

  StateBase* task_;
  Resumption resumption_;
};

struct [[nodiscard]] Sleep {
  TimePoint time;
  [[nodiscard]] SleepAwaiter bind(StateBase* task) const noexcept { return SleepAwaiter(time, task); }
  [[nodiscard]] SleepAwaiter operator co_await() const noexcept { return bind(nullptr); }
};

struct [[nodiscard]] Yield {
  [[nodiscard]] YieldAwaiter bind(StateBase* task) const noexcept { return YieldAwaiter(task); }
  [[nodiscard]] YieldAwaiter operator co_await() const noexcept { return bind(nullptr); }
};

}  // namespace detail

/// `co_await sleep_for(d)` suspends the coroutine, never a thread, for at least `duration` from the call.
///
/// Zero and negative durations do not suspend; one too long to count lasts until the task is asked to stop.
/// *Cancellation*: throws CancelledError when the task is asked to stop, or has been.
/// *Throws*: InvalidStateError in a stranger's coroutine outside any executor, where there is no timer.
/// *Complexity*: O(1) to start and to cancel; allocates nothing. Times are kept in steps of 66 µs, rounded up.
template <class Rep, class Period>
[[nodiscard]] detail::Sleep sleep_for(std::chrono::duration<Rep, Period> duration) noexcept {
  return {detail::deadline_after(detail::saturate(duration))};
}

/// The same until a point in time; one that has passed does not suspend.
template <class D>
[[nodiscard]] detail::Sleep sleep_until(std::chrono::time_point<std::chrono::steady_clock, D> time) noexcept {
  return {TimePoint(detail::saturate(time.time_since_epoch()))};
}

/// `co_await yield()` lets everything else run that waits for a worker of this executor, and then goes on.
[[nodiscard]] inline detail::Yield yield() noexcept { return {}; }

}  // namespace cohort
