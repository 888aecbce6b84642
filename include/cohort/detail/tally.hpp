#pragma once

#include <cohort/detail/sync.hpp>

#include <atomic>   // for std::memory_order
#include <cstdint>  // for std::int64_t, std::uint64_t

namespace cohort::detail {

/// Counts what many threads report, for one owner who waits until there has been so much of it.
///
/// One word says how many reports are missing; zero or less: the owner does not wait. So one operation makes a report, and
/// tells its thread whether it was the last that the owner waits for; nobody else needs to touch what the owner owns after
/// his report.
///
/// `Atomic` is a parameter so that a model checker can put its own in place of it.
template <template <class> class Atomic = sync::atomic>
class Tally {
 public:
  /// By anyone: reports. True for the one for whom the owner waits, who is to tell him, or to do what he has left to him.
  [[nodiscard]] bool add() noexcept {
    // acq_rel: shows what was done before to the owner, and to the one who gets true, who sees what the owner wrote
    return missing_.fetch_sub(1, std::memory_order_acq_rel) == 1;
  }

  /// By anyone while the owner waits, any number of times: ends that. True for one caller, if no add() has been the last or
  /// will be.
  [[nodiscard]] bool withdraw() noexcept {
    std::int64_t missing = missing_.load(std::memory_order_relaxed);  // relaxed: the exchange decides
    do {
      if (missing <= 0) return false;
      // relaxed: nothing hangs on it
    } while (!missing_.compare_exchange_weak(missing, missing - withdrawn, std::memory_order_relaxed,
                                             std::memory_order_relaxed));
    return true;
  }

  // The rest by the owner.

  /// How many have been reported.
  [[nodiscard]] std::uint64_t count() const noexcept {
    // acquire: pairs with add()
    const std::int64_t missing = missing_.load(std::memory_order_acquire);
    return static_cast<std::uint64_t>(wanted_ - missing) & (withdrawn - 1);
  }

  /// Begins to wait until `wanted` have been reported. False when they have been: then the owner does not wait.
  [[nodiscard]] bool wait_for(std::uint64_t wanted) noexcept {
    const bool was_withdrawn = missing_.load(std::memory_order_relaxed) < -withdrawn / 2;  // relaxed: the owner's doing
    const std::int64_t more = static_cast<std::int64_t>(wanted) - wanted_ + (was_withdrawn ? withdrawn : 0);
    wanted_ = static_cast<std::int64_t>(wanted);
    // acq_rel: shows what the owner wrote before to the last who reports; and pairs with add()
    return missing_.fetch_add(more, std::memory_order_acq_rel) + more > 0;
  }

 private:
  // More than can ever be missing.
  static constexpr std::int64_t withdrawn = std::int64_t{1} << 62;

  Atomic<std::int64_t> missing_{0};
  std::int64_t wanted_ = 0;  // the owner's
};

}  // namespace cohort::detail
