#include <cohort/semaphore.hpp>

namespace cohort {

using detail::Wake;

Semaphore::Semaphore(std::ptrdiff_t permits) : free_(permits) {
  if (permits < 0) detail::throw_invalid_argument("permits must be at least 0");
}

bool Semaphore::try_acquire() noexcept {
  std::lock_guard lock(mutex_);
  if (free_ == 0) return false;
  --free_;
  return true;
}

void Semaphore::release() noexcept {
  for (;;) {
    Waiting* first = nullptr;
    {
      std::lock_guard lock(mutex_);
      first = waiting_.pop_front();
      if (first == nullptr) {
        ++free_;
        return;
      }
    }
    if (first->claim(Wake::ready)) {
      first->settle();
      return;
    }
    first->release();  // it was cancelled before the permit came: the next
  }
}

// True when the coroutine is suspended.
bool Semaphore::Awaiter::wait(std::coroutine_handle<> handle) noexcept {
  Semaphore& semaphore = *waiting_.semaphore;
  static constexpr detail::Suspension::Awaited a_permit{
      .remove =
          [](detail::Suspension& suspension) noexcept {
            auto& self = static_cast<Waiting&>(suspension);
            std::lock_guard lock(self.semaphore->mutex_);
            return self.semaphore->waiting_.remove(self);
          },
      .waits_for =
          [](const detail::Suspension&) noexcept { return detail::WaitsFor{.kind = detail::WaitsFor::Kind::permit}; }};
  detail::Suspension::Registration registration(waiting_, handle, a_permit);
  registration.watch_stop();  // first: with a stop requested already, no permit is taken
  if (waiting_.reason() == Wake::none) {
    std::lock_guard lock(semaphore.mutex_);
    if (semaphore.free_ > 0) {
      // Free, and so nobody waits. Unless a stop comes first at this very moment, it is ours.
      if (waiting_.claim(Wake::ready)) {
        --semaphore.free_;
        taken_ = true;
      }
    } else {
      registration.add_source();
      semaphore.waiting_.push_back(waiting_);
    }
  }
  return registration.finish();
}

}  // namespace cohort
