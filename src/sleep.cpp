#include <cohort/detail/sync.hpp>
#include <cohort/sleep.hpp>

namespace cohort::detail {

// True when the coroutine is suspended.
bool SleepAwaiter::wait(std::coroutine_handle<> handle) {
  const StateBase* const task = sleeping_.task();
  if (asked_to_stop(task)) {
    static_cast<void>(sleeping_.claim(Wake::stopped));
    return false;
  }
  if (sleeping_.deadline() <= now()) return false;
  if ((task != nullptr ? task->scheduler : thread_context().scheduler) == nullptr)
    throw_needs_scheduler("cohort::sleep_for");
  static constexpr Suspension::Awaited passing_time{.waits_for = [](const Suspension& suspension) noexcept {
    return WaitsFor{.kind = WaitsFor::Kind::time, .time = suspension.deadline()};
  }};
  Suspension::Registration registration(sleeping_, handle, passing_time);
  // Nothing will ever end it.
  if (sleeping_.deadline() == TimePoint::max() && (task == nullptr || task->scope == nullptr)) return true;
  registration.watch_stop();
  registration.watch_deadline();
  return registration.finish();
}

void YieldAwaiter::go_last(std::coroutine_handle<> handle) {
  Scheduler* const scheduler = task_ != nullptr ? task_->scheduler : thread_context().scheduler;
  if (scheduler == nullptr) throw_needs_scheduler("cohort::yield");
  resumption_.prepare(handle, task_);
  scheduler->schedule_last(resumption_);
}

}  // namespace cohort::detail
