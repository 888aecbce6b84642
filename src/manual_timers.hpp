#pragma once

#include <cohort/detail/timer.hpp>
#include <cohort/duration.hpp>

#include <algorithm>  // for std::max, std::min
#include <array>      // for std::array
#include <bit>        // for std::bit_width
#include <cstddef>    // for std::size_t
#include <cstdint>    // for std::uint64_t

namespace cohort::detail {

// The timers of a manual pool, exact to the nanosecond: a radix heap, in which a timer's list is that of the highest bit
// in which its time differs from that of the last timer taken. Adding and removing are O(1), and a timer moves to a lower
// list at most once per bit before it is taken. Timers of the same time are taken in the order in which they were added.
//
// Ahuja, Mehlhorn, Orlin and Tarjan, "Faster algorithms for the shortest path problem", JACM 37, 1990,
// doi:10.1145/77600.77615.
//
// Not thread-safe: its owner has a lock.
class ManualTimers {
 public:
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  void add(Timer& timer) noexcept {
    insert(timer);
    timer.armed = true;
    ++size_;
  }

  bool remove(Timer& timer) noexcept {
    if (!timer.armed) return false;
    lists_[timer.slot].remove(timer);
    timer.armed = false;
    --size_;
    return true;
  }

  // When the first timer is due; max() when there is none.
  [[nodiscard]] TimePoint first() const noexcept {
    const Timer* timer = lists_[lowest()].front();
    if (timer == nullptr) return TimePoint::max();
    return earliest(timer);
  }

  // Takes out the timers that are due first, linked through `next`; null when there is none.
  Timer* take_first() noexcept {
    const std::size_t low = lowest();
    Timer* timer = lists_[low].front();
    if (timer == nullptr) return nullptr;
    if (low != 0) {
      // They differ from the earliest of them in a lower bit than before, and that one not at all.
      last_ = earliest(timer);
      lists_[low] = {};
      while (timer != nullptr) {
        Timer* const next = timer->following();
        insert(*timer);
        timer = next;
      }
    }
    Timer* const due = lists_[0].front();
    lists_[0] = {};
    for (Timer* each = due; each != nullptr; each = each->following()) {
      each->armed = false;
      --size_;
    }
    return due;
  }

 private:
  static constexpr std::size_t bits = 64;

  [[nodiscard]] std::size_t lowest() const noexcept {
    std::size_t index = 0;
    while (index < bits && lists_[index].empty()) ++index;
    return index;
  }

  [[nodiscard]] static TimePoint earliest(const Timer* timer) noexcept {
    TimePoint time = timer->time;
    for (; timer != nullptr; timer = timer->following()) time = std::min(time, timer->time);
    return time;
  }

  [[nodiscard]] static std::uint64_t bits_of(TimePoint time) noexcept {
    return static_cast<std::uint64_t>(time.time_since_epoch().count());
  }

  void insert(Timer& timer) noexcept {
    timer.slot = static_cast<std::uint16_t>(std::bit_width(bits_of(std::max(timer.time, last_)) ^ bits_of(last_)));
    lists_[timer.slot].push_back(timer);
  }

  std::array<TimerList, bits + 1> lists_;  // by the highest bit that differs, from 1; in the first, none does
  TimePoint last_;                         // the time of the last timers taken: all others are due then or later
  std::size_t size_ = 0;
};

}  // namespace cohort::detail
