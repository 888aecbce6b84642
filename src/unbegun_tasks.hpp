#pragma once

#include <cohort/detail/intrusive_list.hpp>
#include <cohort/detail/scheduler.hpp>
#include <cohort/detail/scope.hpp>
#include <cohort/detail/sync.hpp>

#include <mutex>  // for std::lock_guard

namespace cohort::detail {

// A pool's tasks that wait for the permit of their first attempt. They have been started, to wait, but nothing of what
// was submitted has begun: a shutdown that cancels what has not started asks them to stop, and those that come later.
//
// Thread safety: all members from any thread.
class UnbegunTasks {
 public:
  void add(Unbegun& task) noexcept {
    std::lock_guard lock(mutex_);
    if (cancelled_) {
      task.scope->request_stop();
    } else {
      tasks_.push_back(task);
    }
  }

  void remove(Unbegun& task) noexcept {
    std::lock_guard lock(mutex_);
    tasks_.remove(task);
  }

  void cancel() noexcept {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
    // Under the lock, so that they stay where they are; nothing of the user's runs in such a task yet.
    while (Unbegun* const task = tasks_.pop_front()) task->scope->request_stop();
  }

 private:
  sync::mutex mutex_;
  IntrusiveList<Unbegun> tasks_;
  bool cancelled_ = false;
};

}  // namespace cohort::detail
