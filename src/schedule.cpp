#include <cohort/detail/schedule.hpp>

namespace cohort::detail {

// A coroutine is at home where its parent runs, or where it was submitted, and a guest anywhere else: counted there, so
// that no scheduler ends under it.
void ScheduleAwaiter::move(std::coroutine_handle<> handle) {
  if (task_ == nullptr) {
    target_->guest_entered();
    resumption_.prepare(handle, nullptr);
  } else {
    const Scheduler* const home = home_of(*task_);
    if (target_ != home) target_->guest_entered();
    resumption_.prepare(handle, task_);
    Scheduler* const before = task_->scheduler;
    task_->scheduler = target_;
    if (task_->role == Role::child || task_->role == Role::child_away)
      task_->role = target_ == home ? Role::child : Role::child_away;
    if (before != home) before->guest_left();
  }
  target_->schedule(resumption_);
}

}  // namespace cohort::detail
