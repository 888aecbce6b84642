#include <cohort/detail/prefetch.hpp>
#include <cohort/detail/sync.hpp>

#include <algorithm>  // for std::max, std::min
#include <bit>        // for std::countr_zero, std::bit_width
#include <cstddef>    // for std::size_t
#include <limits>     // for std::numeric_limits
#include <mutex>      // for std::unique_lock

#include "look_for_a_while.hpp"
#include "timer_wheel.hpp"

namespace cohort::detail {
namespace {

constexpr std::uint64_t no_tick = std::numeric_limits<std::uint64_t>::max();

// While one moves timers, others want to arm theirs: to sleep would take longer than to wait.
std::unique_lock<sync::mutex> lock_patiently(sync::mutex& mutex) noexcept {
  std::unique_lock lock(mutex, std::defer_lock);
  if (!look_for_a_while([&lock] { return lock.try_lock(); })) lock.lock();
  return lock;
}

}  // namespace

TimerWheel::TimerWheel() noexcept : next_(TimePoint::max().time_since_epoch().count()) {}

std::uint64_t TimerWheel::tick_at_or_after(TimePoint time) noexcept {
  const Duration::rep count = time.time_since_epoch().count();
  if (count <= 0) return 0;
  const auto value = static_cast<std::uint64_t>(count);
  return (value >> tick_bits) + ((value & ((1U << tick_bits) - 1)) != 0 ? 1 : 0);
}

// To the lowest level in whose present or next turn the timer's tick lies. Returns when its slot must be looked at.
std::uint64_t TimerWheel::insert(Timer& timer) noexcept {
  const std::uint64_t tick = std::max(tick_at_or_after(timer.time), now_);
  const unsigned distance_bits = static_cast<unsigned>(std::bit_width((tick - now_) | 1U)) - 1;
  unsigned level = distance_bits / slot_bits;  // it lies there; perhaps also in the next turn of the one below
  if (level > 0 && turn_at(level - 1, tick) - turn_at(level - 1, now_) <= 1) --level;
  const unsigned index = slot_at(level, tick);
  timer.slot = static_cast<std::uint16_t>(index);
  wheel_[index].push_back(timer);
  used_[index / word_bits] |= std::uint64_t{1} << (index % word_bits);
  timer.armed = true;
  const unsigned shift = level * slot_bits;
  return std::max(tick >> shift << shift, now_);
}

void TimerWheel::remove(Timer& timer) noexcept {
  TimerList& slot = wheel_[timer.slot];
  slot.remove(timer);
  if (slot.empty()) used_[timer.slot / word_bits] &= ~(std::uint64_t{1} << (timer.slot % word_bits));
  timer.armed = false;
}

// The index, within the turn of a level, of its first slot that is not empty; `slots` when all are.
unsigned TimerWheel::first_used(unsigned level, std::uint64_t turn) const noexcept {
  const std::uint64_t* const used = &used_[(2 * std::size_t{level} + turn % 2) * words];
  for (unsigned word = 0; word < words; ++word) {
    if (used[word] != 0) return word * word_bits + static_cast<unsigned>(std::countr_zero(used[word]));
  }
  return slots;
}

// The first tick at which a slot must be looked at. In each level the slots in use lie at now's or ahead.
std::uint64_t TimerWheel::next_tick() const noexcept {
  std::uint64_t first = no_tick;
  for (unsigned level = 0; level < levels; ++level) {
    std::uint64_t turn = turn_at(level, now_);
    unsigned index = first_used(level, turn);
    if (index == slots) index = first_used(level, ++turn);
    if (index == slots) continue;
    first = std::min(first, std::max((turn * slots + index) << (level * slot_bits), now_));
  }
  return first;
}

// Brings timers of the slots that come next to the next turns of the levels below. What is still there when the slot
// begins goes down then.
void TimerWheel::move_ahead() noexcept {
  for (unsigned level = 1; level < levels; ++level) {
    const std::uint64_t next_slot = (now_ >> (level * slot_bits)) + 1;
    const TimerList& slot = wheel_[slot_at(level, next_slot << (level * slot_bits))];
    for (unsigned moved = 0; moved < moved_ahead && !slot.empty(); ++moved) {
      Timer& timer = *slot.front();
      remove(timer);
      insert(timer);
    }
  }
}

TimePoint TimerWheel::time_of(std::uint64_t tick) noexcept {
  constexpr auto never = static_cast<std::uint64_t>(TimePoint::max().time_since_epoch().count());
  if (tick > (never >> tick_bits)) return TimePoint::max();
  return TimePoint(Duration(static_cast<Duration::rep>(tick << tick_bits)));
}

void TimerWheel::publish_next(TimePoint time) noexcept {
  next_.store(time.time_since_epoch().count(), std::memory_order_seq_cst);  // seq_cst: see next()
}

bool TimerWheel::arm(Timer& timer) noexcept {
  const auto lock = lock_patiently(mutex_);
  const TimePoint before = next();
  if (before == TimePoint::max()) {
    // No timer at all: nothing to look after, so the wheel may stand at the present.
    now_ = std::max(now_, tick_at_or_after(sync::now()));
  }
  ++size_;
  const TimePoint first = time_of(insert(timer));
  if (first >= before) return false;
  publish_next(first);
  return true;
}

bool TimerWheel::disarm(Timer& timer) noexcept {
  const auto lock = lock_patiently(mutex_);
  if (!timer.armed) return false;
  remove(timer);
  --size_;
  // next_ may now be too early: one idle look at the wheel, instead of a search here. But an empty wheel is known at
  // once.
  if (next_tick() == no_tick) publish_next(TimePoint::max());
  return true;
}

void TimerWheel::advance(TimePoint time, unsigned most) noexcept {
  if (time < next()) return;
  // The last tick that is over: rounded down.
  const std::uint64_t until =
      static_cast<std::uint64_t>(std::max<Duration::rep>(time.time_since_epoch().count(), 0)) >> tick_bits;
  // To fire a timer takes far longer than to move it.
  constexpr std::uint64_t moves_for_one = 16;
  std::uint64_t moves_left = moves_for_one * most;
  TimerList due;
  {
    std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return;
    for (std::uint64_t tick = next_tick(); tick <= until && moves_left != 0; tick = next_tick()) {
      now_ = tick;
      // Empty the slot that begins at this tick in each level: what is due goes out, the rest further down.
      for (unsigned level = levels; level-- > 0;) {
        const TimerList& slot = wheel_[slot_at(level, tick)];
        while (!slot.empty() && moves_left != 0) {
          Timer& timer = *slot.front();
          remove(timer);
          if (tick_at_or_after(timer.time) > tick) {
            insert(timer);
            --moves_left;
          } else {
            --size_;
            due.push_back(timer);
            moves_left -= std::min(moves_left, moves_for_one);
          }
        }
      }
    }
    if (moves_left != 0) now_ = std::max(now_, until + 1);
    behind_.store(moves_left == 0, std::memory_order_relaxed);  // relaxed: a hint
    move_ahead();
    publish_next(time_of(next_tick()));
  }
  for (Timer* timer = due.front(); timer != nullptr;) {
    Timer* const following = timer->following();  // first: this may end the timer's life
    prefetch<-192, 64>(following);                // what waits for it lies before it
    timer->time_out();
    timer = following;
  }
}

}  // namespace cohort::detail
