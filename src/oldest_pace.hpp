#pragma once

#include <algorithm>  // for std::remove_if
#include <array>      // for std::array
#include <cstddef>    // for std::size_t
#include <cstdint>    // for std::int64_t

namespace cohort::detail {

// How often a worker that runs its newest first takes its oldest instead, so that this does not wait for ever.
//
// In a recursion the oldest is the largest part of what is left, and all that is under way stays alive while it runs. Taken
// at each turn, what is alive would grow with time, where depth first it grows with depth alone. So it is taken half as often
// with each that was begun within the one before and is not over: their number grows with the logarithm of time.
//
// Not thread-safe: the worker's own.
class OldestPace {
 public:
  // At each turn, with the index in the deque at which the worker pushes next, and how many there are: whether the oldest is
  // to be taken.
  [[nodiscard]] bool due(std::int64_t bottom, std::size_t size) noexcept {
    if (--turns_left_ != 0) return false;
    // What was begun at a bottom is over, or waits and has left nothing, when the bottom is there again; and it is within
    // nothing when all that was older has been begun, too.
    const std::int64_t top = bottom - static_cast<std::int64_t>(size);
    const auto gone = [=](std::int64_t begun_at) { return begun_at >= bottom || begun_at <= top; };
    const auto first = begun_at_.begin();
    under_way_ = static_cast<std::size_t>(std::remove_if(first, first + under_way_, gone) - first);
    turns_left_ = std::uint32_t{1} << under_way_;
    if (under_way_ < begun_at_.size()) begun_at_[under_way_++] = bottom;
    return true;
  }

  // The deque is empty: what is under way is within nothing any more.
  void begin_anew() noexcept {
    under_way_ = 0;
    turns_left_ = 1;
  }

 private:
  std::array<std::int64_t, 12> begun_at_{};
  std::size_t under_way_ = 0;
  std::uint32_t turns_left_ = 1;
};

}  // namespace cohort::detail
