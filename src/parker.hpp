#pragma once

#include <cohort/detail/sync.hpp>
#include <cohort/duration.hpp>

#include <atomic>  // for std::memory_order
#include <mutex>   // for std::lock_guard

namespace cohort::detail {

// Where one thread sleeps. One token: unpark() leaves it, park() takes it or sleeps until it is there.
//
// Each sleeper has a word of its own, four bytes, since only those have a futex of their own in libstdc++; a timed
// sleep needs a condition variable, with that one thread as its only waiter. The semaphores of libstdc++ 12 lose
// wake-ups.
class Parker {
 public:
  // Sleeps until unpark(), or `deadline`. May also return for no reason.
  void park(TimePoint deadline) noexcept {
    int expected = empty;
    const int how = deadline == TimePoint::max() ? sleeping : sleeping_timed;
    // seq_cst, here and in unpark(): one order of announcements and tokens.
    if (!word_.compare_exchange_strong(expected, how, std::memory_order_seq_cst)) return;  // the token is here already
    if (how == sleeping) {
      word_.wait(sleeping, std::memory_order_seq_cst);
    } else {
      std::unique_lock lock(mutex_);
      condition_.wait_until(lock, deadline, [this] { return word_.load(std::memory_order_seq_cst) != sleeping_timed; });
    }
    expected = how;
    word_.compare_exchange_strong(expected, empty, std::memory_order_seq_cst);  // unless the token came
  }

  // Takes the token, which is here or about to be.
  void wait_for_unpark() noexcept {
    while (word_.load(std::memory_order_seq_cst) != token) park(TimePoint::max());
    word_.store(empty, std::memory_order_seq_cst);
  }

  void unpark() noexcept {
    switch (word_.exchange(token, std::memory_order_seq_cst)) {
      case sleeping:
        word_.notify_one();
        break;
      case sleeping_timed: {
        std::lock_guard lock(mutex_);
        condition_.notify_one();
        break;
      }
      default:
        break;
    }
  }

 private:
  static constexpr int empty = 0;
  static constexpr int sleeping = 1;        // on the word
  static constexpr int sleeping_timed = 2;  // on the condition variable
  static constexpr int token = 3;

  sync::atomic<int> word_{empty};  // written by both sides, by read-modify-write
  sync::mutex mutex_;
  sync::condition_variable condition_;
};

}  // namespace cohort::detail
