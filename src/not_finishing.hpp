#pragma once

#include <cohort/detail/scheduler.hpp>
#include <cohort/detail/thread_context.hpp>

#include <utility>  // for std::exchange

namespace cohort::detail {

// While code that is not the library's runs at the end of a task: it may take its time, or block, so that what it schedules,
// and what the end has woken already, is for any worker, and not for this thread's loop.
class NotFinishing {
 public:
  NotFinishing() noexcept {
    ThreadContext& context = thread_context();
    finishing_ = std::exchange(context.finishing, false);
    if (Node* const node = std::exchange(context.handed_over, nullptr)) context.scheduler->schedule(*node);
  }
  NotFinishing(const NotFinishing&) = delete;
  NotFinishing& operator=(const NotFinishing&) = delete;
  ~NotFinishing() { thread_context().finishing = finishing_; }

 private:
  bool finishing_;
};

}  // namespace cohort::detail
