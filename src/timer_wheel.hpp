#pragma once

#include <cohort/detail/sync.hpp>
#include <cohort/detail/timer.hpp>

#include <array>    // for std::array
#include <atomic>   // for std::memory_order
#include <cstddef>  // for std::size_t
#include <cstdint>  // for std::uint64_t
#include <limits>   // for std::numeric_limits
#include <mutex>    // for std::lock_guard

namespace cohort::detail {

// The timers of one pool: a hierarchical timing wheel. Arming and taking back are O(1), and a timer moves down at most
// once per level before it fires.
//
// Varghese and Lauck, "Hashed and hierarchical timing wheels", SOSP 1987, doi:10.1145/41457.37504. Other than there a
// level has the slots of two turns, the present and the next: so what the next turn needs can come down from the level
// above little by little while this one lasts, instead of all at once, which a million timers would have to wait for.
//
// A tick is 2^16 ns, about 66 µs; 7 levels with turns of 128 slots reach beyond the end of the steady clock. A timer of up
// to a second moves down once. A deadline is rounded up to a tick: never early.
//
// Thread safety: all members from any thread. No timer fires under the lock.
class TimerWheel {
 public:
  TimerWheel() noexcept;

  // True when the timer is now the first to come: whoever sleeps until the next must be told.
  bool arm(Timer& timer) noexcept;
  bool disarm(Timer& timer) noexcept;

  static constexpr unsigned all = std::numeric_limits<unsigned>::max();

  // Fires what is due, in order of deadline up to a tick; at most so many timers, and then next() says that there are
  // more. Does nothing while another thread is at the wheel: next() says so, too.
  void advance(TimePoint now, unsigned most = all) noexcept;

  // Whether the last look left some that were due.
  [[nodiscard]] bool behind() const noexcept { return behind_.load(std::memory_order_relaxed); }  // relaxed: a hint

  // How many are armed.
  [[nodiscard]] std::size_t size() noexcept {
    std::lock_guard lock(mutex_);
    return size_;
  }

  // When there may be something to do next; max() when there is no timer. It may be too early, never too late.
  [[nodiscard]] TimePoint next() const noexcept {
    // seq_cst: read by a worker going to sleep, after it has announced that; see ThreadPool.
    return TimePoint(Duration(next_.load(std::memory_order_seq_cst)));
  }

 private:
  static constexpr unsigned tick_bits = 16;
  static constexpr unsigned slot_bits = 7;
  static constexpr unsigned slots = 1U << slot_bits;  // of one turn
  static constexpr unsigned levels = 7;
  static constexpr unsigned ring = 2 * slots;  // a level's slots: those of even turns, then those of odd ones
  static constexpr unsigned moved_ahead = 64;  // at most so many timers of each level each time
  static constexpr unsigned word_bits = 64;
  static constexpr unsigned words = slots / word_bits;  // of `used_`, for one turn

  static std::uint64_t tick_at_or_after(TimePoint time) noexcept;
  // The turn of a level at a tick, and the index of its slot there.
  static constexpr std::uint64_t turn_at(unsigned level, std::uint64_t tick) noexcept {
    const unsigned shift = (level + 1) * slot_bits;
    return tick >> shift;
  }
  static constexpr unsigned slot_at(unsigned level, std::uint64_t tick) noexcept {
    return level * ring + (static_cast<unsigned>(tick >> (level * slot_bits)) & (ring - 1));
  }
  std::uint64_t insert(Timer& timer) noexcept;
  void remove(Timer& timer) noexcept;
  [[nodiscard]] unsigned first_used(unsigned level, std::uint64_t turn) const noexcept;
  [[nodiscard]] std::uint64_t next_tick() const noexcept;
  void move_ahead() noexcept;
  static TimePoint time_of(std::uint64_t tick) noexcept;
  void publish_next(TimePoint time) noexcept;

  sync::mutex mutex_;
  std::array<TimerList, std::size_t{ring} * levels> wheel_;  // level by level
  // One bit per slot that is not empty, in the order of wheel_.
  std::array<std::uint64_t, std::size_t{2} * levels * words> used_{};
  std::size_t size_ = 0;
  std::uint64_t now_ = 0;             // all ticks before this one have been dealt with
  sync::atomic<Duration::rep> next_;  // written under the mutex
  sync::atomic<bool> behind_{false};  // written under the mutex
};

}  // namespace cohort::detail
