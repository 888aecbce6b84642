#pragma once

#include <cohort/detail/scope.hpp>
#include <cohort/detail/thread_context.hpp>
#include <cohort/duration.hpp>

#include <cstdint>  // for std::uint16_t

namespace cohort::detail {

/// Something to be told, once, when a time has come. All but the time belongs to the scheduler that it is armed with. It
/// may be in a scope, too; what it then does on either occasion is its kind's.
struct Timer : StopNode {
  explicit Timer(TimePoint when = TimePoint::max()) noexcept : time(when), wheel(thread_context().worker_index) {}

  void time_out() noexcept { kind->time_out(*this); }
  /// The next of the timers that it is among.
  [[nodiscard]] Timer* following() const noexcept { return static_cast<Timer*>(next); }

  Timer* previous;  // while it is armed, as are `next` and `slot`
  TimePoint time;   // does not change while it is armed
  std::uint16_t slot;
  /// Of a scheduler that has several, which of its wheels. It never changes, so that who takes the timer back while another
  /// arms it meets that one at the same lock.
  std::uint16_t wheel;
  bool armed = false;
};

/// The timers of one slot. Not thread-safe: its owner has a lock.
class TimerList {
 public:
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  [[nodiscard]] Timer* front() const noexcept { return first_; }

  void push_back(Timer& timer) noexcept {
    timer.next = nullptr;
    timer.previous = last_;
    if (last_ != nullptr) {
      last_->next = &timer;
    } else {
      first_ = &timer;
    }
    last_ = &timer;
  }

  void remove(Timer& timer) noexcept {
    Timer* const following = timer.following();
    if (timer.previous != nullptr) {
      timer.previous->next = following;
    } else {
      first_ = following;
    }
    (following != nullptr ? following->previous : last_) = timer.previous;
  }

 private:
  Timer* first_ = nullptr;
  Timer* last_ = nullptr;
};

}  // namespace cohort::detail
