#pragma once

#include <cohort/detail/awaitable.hpp>
#include <cohort/detail/scheduler.hpp>
#include <cohort/detail/suspension.hpp>

#include <coroutine>  // for std::coroutine_handle

namespace cohort::detail {

/// Continues a coroutine on another scheduler.
class [[nodiscard]] ScheduleAwaiter {
 public:
  ScheduleAwaiter(Scheduler& target, StateBase* task) noexcept : target_(&target), task_(task) {}
  ScheduleAwaiter(const ScheduleAwaiter&) = delete;
  ScheduleAwaiter& operator=(const ScheduleAwaiter&) = delete;

  [[nodiscard]] bool await_ready() const noexcept { return task_ != nullptr && task_->scheduler == target_; }
  COHORT_SUSPEND_OUT_OF_LINE void await_suspend(std::coroutine_handle<> handle) { move(handle); }
  void await_resume() const noexcept {
    if (task_ == nullptr) target_->guest_left();  // a stranger's coroutine: we do not know when it ends
  }

 private:
  void move(std::coroutine_handle<> handle);

  Scheduler* target_;
  StateBase* task_;
  Resumption resumption_;
};

/// What `executor.schedule()` returns.
class [[nodiscard]] Schedule {
 public:
  explicit Schedule(Scheduler& target) noexcept : target_(&target) {}
  [[nodiscard]] ScheduleAwaiter bind(StateBase* task) const noexcept { return ScheduleAwaiter(*target_, task); }
  [[nodiscard]] ScheduleAwaiter operator co_await() const noexcept { return bind(nullptr); }

 private:
  Scheduler* target_;
};

}  // namespace cohort::detail
