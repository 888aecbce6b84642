#pragma once

#include <cohort/detail/timer.hpp>

#include <algorithm>  // for std::min
#include <cstddef>    // for std::size_t
#include <memory>     // for std::unique_ptr

#include "timer_wheel.hpp"

namespace cohort::detail {

// The timers of a pool with threads: a wheel for each worker, so that workers that arm and fire timers do not meet at one
// lock, nor fetch from each other's caches what they link. What a worker makes it arms on its own wheel; but a wheel is
// looked after by everybody: no timer waits for the end of what one worker runs.
//
// Thread safety: all members from any thread.
class TimerWheels {
 public:
  explicit TimerWheels(std::size_t count) : count_(count), wheels_(std::make_unique<TimerWheel[]>(count)) {}

  // True when the timer is now the first to come of all: whoever sleeps until the next must be told.
  bool arm(Timer& timer) noexcept {
    TimerWheel& wheel = of(timer);
    if (!wheel.arm(timer)) return false;
    // If another comes first, whoever sees to that one looks for the next after it, and finds this one: it was published
    // before we looked.
    const TimePoint own = wheel.next();
    for (std::size_t index = 0; index < count_; ++index) {
      if (wheels_[index].next() < own) return false;
    }
    return true;
  }

  bool disarm(Timer& timer) noexcept { return of(timer).disarm(timer); }

  // Looks at all, that one first: see TimerWheel::advance.
  void advance(TimePoint now, unsigned most, std::size_t first) noexcept {
    for (std::size_t looked = 0, index = first; looked < count_; ++looked) {
      wheels_[index].advance(now, most);
      if (++index == count_) index = 0;
    }
  }

  // Whether the last look at that wheel left some that were due.
  [[nodiscard]] bool behind(std::size_t wheel) const noexcept { return wheels_[wheel].behind(); }

  // When there may be something to do next: see TimerWheel::next.
  [[nodiscard]] TimePoint next() const noexcept {
    TimePoint first = TimePoint::max();
    for (std::size_t index = 0; index < count_; ++index) first = std::min(first, wheels_[index].next());
    return first;
  }

  // How many are armed.
  [[nodiscard]] std::size_t size() noexcept {
    std::size_t sum = 0;
    for (std::size_t index = 0; index < count_; ++index) sum += wheels_[index].size();
    return sum;
  }

 private:
  // One that another pool's worker has made may be of a wheel that there is not.
  [[nodiscard]] TimerWheel& of(const Timer& timer) const noexcept {
    return wheels_[timer.wheel < count_ ? timer.wheel : 0];
  }

  const std::size_t count_;
  const std::unique_ptr<TimerWheel[]> wheels_;
};

}  // namespace cohort::detail
