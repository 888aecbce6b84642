#include <cohort/detail/sync.hpp>
#include <cohort/sleep.hpp>

namespace cohort::detail {

// True when the coroutine is suspended.
bool SleepAwaiter::wait(std::coroutine_handle<> handle) {
  if (asked_to_stop(task_)) {
    static_cast<void>(suspension_.claim(Wake::stopped));
    return false;
  }
  if (suspension_.time <= now()) return false;
  if ((task_ != nullptr ? task_->scheduler : thread_context().scheduler) == nullptr)
    throw_needs_scheduler("cohort::sleep_for");
  static constexpr Suspension::Awaited passing_time{
      .describe =
          [](const Suspension& suspension) noexcept {
            return WaitsFor{.kind = WaitsFor::Kind::time, .time = static_cast<const Sleeping&>(suspension).time};
          },
      .time = [](Suspension& suspension) noexcept -> Suspension::TimeSource& {
        return static_cast<Sleeping&>(suspension);
      }};
  suspension_.begin(handle, task_, passing_time);
  suspension_.watch_stop();
  suspension_.watch_deadline(suspension_.time);
  return suspension_.finish();
}

void YieldAwaiter::go_last(std::coroutine_handle<> handle) {
  Scheduler* const scheduler = task_ != nullptr ? task_->scheduler : thread_context().scheduler;
  if (scheduler == nullptr) throw_needs_scheduler("cohort::yield");
  resumption_.prepare(handle, task_);
  scheduler->schedule_last(resumption_);
}

}  // namespace cohort::detail
