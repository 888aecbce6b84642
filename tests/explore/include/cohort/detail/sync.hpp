// In place of the library's header of this name when it is compiled for the explorer: the same names, each operation
// on them a point of the schedule. One thread runs at a time, so that plain variables do underneath.
#pragma once

#include <cohort/duration.hpp>

#include <atomic>              // for std::memory_order
#include <condition_variable>  // for std::cv_status
#include <mutex>               // for std::unique_lock
#include <utility>             // for std::exchange

#include "../../../schedule_point.hpp"

namespace cohort::detail::sync {

/// Sequentially consistent whatever the orders say: those are for the models and for ThreadSanitizer.
template <class T>
class atomic {
 public:
  using Order = std::memory_order;
  using Where = explore::Where;
  using value_type = T;

  constexpr atomic() noexcept = default;
  constexpr atomic(T value) noexcept : value_(value) {}
  atomic(const atomic&) = delete;
  atomic& operator=(const atomic&) = delete;

  T load(Order = std::memory_order_seq_cst, Where where = Where::current()) const noexcept {
    explore::point({"load", this, where});
    return value_;
  }
  void store(T value, Order = std::memory_order_seq_cst, Where where = Where::current()) noexcept {
    explore::point({"store", this, where});
    value_ = value;
  }
  T exchange(T value, Order = std::memory_order_seq_cst, Where where = Where::current()) noexcept {
    explore::point({"exchange", this, where});
    return std::exchange(value_, value);
  }

  bool compare_exchange_strong(T& expected, T desired, Order = std::memory_order_seq_cst,
                               Where where = Where::current()) noexcept {
    explore::point({"compare_exchange_strong", this, where});
    return compare_exchange(expected, desired);
  }
  bool compare_exchange_strong(T& expected, T desired, Order success, Order, Where where = Where::current()) noexcept {
    return compare_exchange_strong(expected, desired, success, where);
  }
  bool compare_exchange_weak(T& expected, T desired, Order = std::memory_order_seq_cst,
                             Where where = Where::current()) noexcept {
    explore::point({"compare_exchange_weak", this, where});
    if (value_ == expected && explore::whim(16)) return false;
    return compare_exchange(expected, desired);
  }
  bool compare_exchange_weak(T& expected, T desired, Order success, Order, Where where = Where::current()) noexcept {
    return compare_exchange_weak(expected, desired, success, where);
  }

  T fetch_add(T value, Order = std::memory_order_seq_cst, Where where = Where::current()) noexcept {
    explore::point({"fetch_add", this, where});
    return std::exchange(value_, static_cast<T>(value_ + value));
  }
  T fetch_sub(T value, Order = std::memory_order_seq_cst, Where where = Where::current()) noexcept {
    explore::point({"fetch_sub", this, where});
    return std::exchange(value_, static_cast<T>(value_ - value));
  }
  T fetch_or(T value, Order = std::memory_order_seq_cst, Where where = Where::current()) noexcept {
    explore::point({"fetch_or", this, where});
    return std::exchange(value_, static_cast<T>(value_ | value));
  }

  /// Never returns while the value is `old`, as std::atomic's; wake-ups without a reason are dealt with in here.
  void wait(T old, Order = std::memory_order_seq_cst, Where where = Where::current()) const noexcept {
    explore::point({"wait", this, where});
    while (value_ == old) {
      if (explore::whim(16)) {
        explore::give_way({"woken for no reason", this, where});
      } else {
        explore::block({"waiting", this, where});
      }
    }
  }
  void notify_one(Where where = Where::current()) noexcept {
    explore::point({"notify_one", this, where});
    explore::wake_one(this);
  }
  void notify_all(Where where = Where::current()) noexcept {
    explore::point({"notify_all", this, where});
    explore::wake_all(this);
  }

 private:
  bool compare_exchange(T& expected, T desired) noexcept {
    if (value_ == expected) {
      value_ = desired;
      return true;
    }
    expected = value_;
    return false;
  }

  T value_{};
};

/// Whoever locks it twice, unlocks another's, or destroys it while it is in use, fails.
class mutex {
 public:
  using Where = explore::Where;

  mutex() noexcept = default;
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;
  ~mutex() {
    if (holder_ != nobody || explore::anybody_blocked_on(this))
      explore::fail("a mutex is destroyed while it is in use");
    holder_ = destroyed;
  }

  void lock(Where where = Where::current()) noexcept {
    explore::point({"lock", this, where});
    acquire(where);
  }
  [[nodiscard]] bool try_lock(Where where = Where::current()) noexcept {
    explore::point({"try_lock", this, where});
    if (holder_ != nobody) return false;
    holder_ = explore::thread_number();
    return true;
  }
  void unlock(Where where = Where::current()) noexcept {
    explore::point({"unlock", this, where});
    release();
  }

 private:
  friend class condition_variable;
  static constexpr int nobody = -1;
  static constexpr int destroyed = -2;

  void acquire(Where where) noexcept {
    if (holder_ == explore::thread_number()) explore::fail("a mutex is locked twice by one thread");
    while (holder_ != nobody) {
      if (holder_ == destroyed) explore::fail("a mutex is locked after its destruction");
      explore::block({"locking", this, where});
    }
    holder_ = explore::thread_number();
  }
  void release() noexcept {
    if (holder_ != explore::thread_number()) explore::fail("a mutex is unlocked by a thread that does not hold it");
    holder_ = nobody;
    explore::wake_all(this);
  }

  int holder_ = nobody;
};

class condition_variable {
 public:
  using Where = explore::Where;

  condition_variable() noexcept = default;
  condition_variable(const condition_variable&) = delete;
  condition_variable& operator=(const condition_variable&) = delete;
  ~condition_variable() {
    if (explore::anybody_blocked_on(this)) explore::fail("a condition variable is destroyed while it is waited on");
    destroyed_ = true;
  }

  void wait(std::unique_lock<mutex>& lock, Where where = Where::current()) noexcept {
    wait_until(lock, TimePoint::max(), where);
  }
  template <class Predicate>
  void wait(std::unique_lock<mutex>& lock, Predicate predicate, Where where = Where::current()) {
    while (!predicate()) wait(lock, where);
  }
  std::cv_status wait_until(std::unique_lock<mutex>& lock, TimePoint deadline,
                            Where where = Where::current()) noexcept {
    explore::point({"wait", this, where});
    if (destroyed_) explore::fail("a condition variable is waited on after its destruction");
    mutex& held = *lock.mutex();
    held.release();
    bool notified = true;
    if (explore::whim(16)) {
      explore::give_way({"woken for no reason", this, where});
    } else {
      notified = explore::block({"waiting", this, where}, deadline);
    }
    held.acquire(where);
    return notified ? std::cv_status::no_timeout : std::cv_status::timeout;
  }
  template <class Predicate>
  bool wait_until(std::unique_lock<mutex>& lock, TimePoint deadline, Predicate predicate,
                  Where where = Where::current()) {
    while (!predicate()) {
      if (wait_until(lock, deadline, where) == std::cv_status::timeout) return predicate();
    }
    return true;
  }
  void notify_one(Where where = Where::current()) noexcept {
    notify({"notify_one", this, where});
    explore::wake_one(this);
  }
  void notify_all(Where where = Where::current()) noexcept {
    notify({"notify_all", this, where});
    explore::wake_all(this);
  }

 private:
  void notify(const explore::Operation& operation) const noexcept {
    explore::point(operation);
    if (destroyed_) explore::fail("a condition variable is notified after its destruction");
  }

  bool destroyed_ = false;
};

/// The time of this execution.
[[nodiscard]] inline TimePoint now() noexcept { return explore::now(); }

}  // namespace cohort::detail::sync
