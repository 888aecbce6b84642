#include <cohort/detail/sync.hpp>

#include "timer_wheel.hpp"

#include <algorithm>  // for std::max, std::min
#include <bit>        // for std::countr_zero, std::bit_width
#include <cstddef>    // for std::size_t
#include <limits>     // for std::numeric_limits

namespace cohort::detail {
namespace {

constexpr std::uint64_t no_tick = std::numeric_limits<std::uint64_t>::max();

}  // namespace

TimerWheel::TimerWheel() noexcept : next_(TimePoint::max().time_since_epoch().count()) {}

std::uint64_t TimerWheel::tick_at_or_after(TimePoint time) noexcept {
  const Duration::rep count = time.time_since_epoch().count();
  if (count <= 0) return 0;
  const auto value = static_cast<std::uint64_t>(count);
  return (value >> tick_bits) + ((value & ((1U << tick_bits) - 1)) != 0 ? 1 : 0);
}

// The lowest level in whose present or next turn the timer's tick lies.
void TimerWheel::insert(Timer& timer) noexcept {
  const std::uint64_t tick = std::max(timer.tick, now_);
  const unsigned distance_bits = static_cast<unsigned>(std::bit_width((tick - now_) | 1U)) - 1;
  unsigned level = distance_bits / slot_bits;  // it lies there; perhaps also in the next turn of the one below
  if (level > 0 && turn_at(level - 1, tick) - turn_at(level - 1, now_) <= 1) --level;
  const unsigned index = slot_at(level, tick);
  timer.slot = static_cast<std::uint16_t>(index);
  Slot& slot = wheel_[index];
  timer.next = nullptr;
  timer.previous = slot.last;
  (slot.last != nullptr ? slot.last->next : slot.first) = &timer;
  slot.last = &timer;
  used_[index / slots] |= std::uint64_t{1} << (index % slots);
  timer.armed = true;
}

void TimerWheel::remove(Timer& timer) noexcept {
  Slot& slot = wheel_[timer.slot];
  (timer.previous != nullptr ? timer.previous->next : slot.first) = timer.next;
  (timer.next != nullptr ? timer.next->previous : slot.last) = timer.previous;
  if (slot.first == nullptr) used_[timer.slot / slots] &= ~(std::uint64_t{1} << (timer.slot % slots));
  timer.armed = false;
}

// The first tick at which a slot must be looked at. In each level the slots in use lie at now's or ahead.
std::uint64_t TimerWheel::next_tick() const noexcept {
  std::uint64_t first = no_tick;
  for (unsigned level = 0; level < levels; ++level) {
    std::uint64_t turn = turn_at(level, now_);
    std::uint64_t used = used_[std::size_t{2} * level + turn % 2];
    if (used == 0) used = used_[std::size_t{2} * level + ++turn % 2];
    if (used == 0) continue;
    const std::uint64_t slot = turn * slots + static_cast<unsigned>(std::countr_zero(used));
    first = std::min(first, std::max(slot << (level * slot_bits), now_));
  }
  return first;
}

// Brings timers of the slots that come next to the next turns of the levels below. What is still there when the slot
// begins goes down then.
void TimerWheel::move_ahead() noexcept {
  for (unsigned level = 1; level < levels; ++level) {
    const std::uint64_t next_slot = (now_ >> (level * slot_bits)) + 1;
    const Slot& slot = wheel_[slot_at(level, next_slot << (level * slot_bits))];
    for (unsigned moved = 0; moved < moved_ahead && slot.first != nullptr; ++moved) {
      Timer& timer = *slot.first;
      remove(timer);
      insert(timer);
    }
  }
}

void TimerWheel::publish_next() noexcept {
  const std::uint64_t tick = next_tick();
  constexpr auto never = static_cast<std::uint64_t>(TimePoint::max().time_since_epoch().count());
  const std::uint64_t count = tick > (never >> tick_bits) ? never : tick << tick_bits;
  next_.store(static_cast<Duration::rep>(count), std::memory_order_seq_cst);  // seq_cst: see next()
}

bool TimerWheel::arm(Timer& timer, TimePoint time) noexcept {
  std::lock_guard lock(mutex_);
  timer.tick = tick_at_or_after(time);
  const TimePoint before = next();
  if (before == TimePoint::max()) {
    // No timer at all: nothing to look after, so the wheel may stand at the present.
    now_ = std::max(now_, tick_at_or_after(sync::now()));
  }
  insert(timer);
  ++size_;
  publish_next();
  return next() < before;
}

bool TimerWheel::disarm(Timer& timer) noexcept {
  std::lock_guard lock(mutex_);
  if (!timer.armed) return false;
  remove(timer);
  --size_;
  // next_ may now be too early: one idle look at the wheel, instead of a search here. But an empty wheel is known at
  // once.
  if (next_tick() == no_tick) publish_next();
  return true;
}

void TimerWheel::advance(TimePoint time) noexcept {
  if (time < next()) return;
  // The last tick that is over: rounded down.
  const std::uint64_t until =
      static_cast<std::uint64_t>(std::max<Duration::rep>(time.time_since_epoch().count(), 0)) >> tick_bits;
  Timer* due = nullptr;
  Timer* last_due = nullptr;
  {
    std::lock_guard lock(mutex_);
    for (;;) {
      const std::uint64_t tick = next_tick();
      if (tick > until) break;
      now_ = tick;
      // Empty the slot that begins at this tick in each level: what is due goes out, the rest further down.
      for (unsigned level = levels; level-- > 0;) {
        Timer* timer = wheel_[slot_at(level, tick)].first;
        while (timer != nullptr) {
          Timer* next = timer->next;
          remove(*timer);
          if (timer->tick <= tick) {
            --size_;
            timer->next = nullptr;
            (last_due != nullptr ? last_due->next : due) = timer;
            last_due = timer;
          } else {
            insert(*timer);
          }
          timer = next;
        }
      }
      now_ = tick + 1;
    }
    if (now_ <= until) now_ = until + 1;
    move_ahead();
    publish_next();
  }
  while (due != nullptr) {
    Timer* next = due->next;  // first: firing may end the timer's life
    due->fire(*due);
    due = next;
  }
}

}  // namespace cohort::detail
