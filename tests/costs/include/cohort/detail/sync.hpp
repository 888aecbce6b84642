// In place of the library's header of this name when it is compiled to be counted.
#pragma once

#include <cohort/duration.hpp>

#include <atomic>              // for std::atomic
#include <chrono>              // for std::chrono::steady_clock
#include <condition_variable>  // for std::condition_variable_any
#include <mutex>               // for std::mutex

#include "../../../counted.hpp"

namespace cohort::detail::sync {

template <class T>
class atomic {
 public:
  constexpr atomic() noexcept = default;
  constexpr atomic(T value) noexcept : value_(value) {}
  atomic(const atomic&) = delete;
  atomic& operator=(const atomic&) = delete;

  [[nodiscard]] T load(std::memory_order order = std::memory_order_seq_cst) const noexcept {
    return value_.load(order);
  }
  void store(T value, std::memory_order order = std::memory_order_seq_cst) noexcept {
    if (order == std::memory_order_seq_cst) ++costs::counts.locked;
    value_.store(value, order);
  }
  T exchange(T value, std::memory_order order = std::memory_order_seq_cst) noexcept {
    ++costs::counts.locked;
    return value_.exchange(value, order);
  }
  template <class... Orders>
  bool compare_exchange_strong(T& expected, T value, Orders... orders) noexcept {
    ++costs::counts.locked;
    return value_.compare_exchange_strong(expected, value, orders...);
  }
  template <class... Orders>
  bool compare_exchange_weak(T& expected, T value, Orders... orders) noexcept {
    ++costs::counts.locked;
    return value_.compare_exchange_strong(expected, value, orders...);  // which does not fail for no reason
  }
  T fetch_add(T value, std::memory_order order = std::memory_order_seq_cst) noexcept {
    ++costs::counts.locked;
    return value_.fetch_add(value, order);
  }
  T fetch_sub(T value, std::memory_order order = std::memory_order_seq_cst) noexcept {
    ++costs::counts.locked;
    return value_.fetch_sub(value, order);
  }
  T fetch_or(T value, std::memory_order order = std::memory_order_seq_cst) noexcept {
    ++costs::counts.locked;
    return value_.fetch_or(value, order);
  }
  T fetch_and(T value, std::memory_order order = std::memory_order_seq_cst) noexcept {
    ++costs::counts.locked;
    return value_.fetch_and(value, order);
  }
  void wait(T old, std::memory_order order = std::memory_order_seq_cst) const noexcept {
    ++costs::counts.system_calls;
    value_.wait(old, order);
  }
  void notify_one() noexcept {
    ++costs::counts.system_calls;
    value_.notify_one();
  }
  void notify_all() noexcept {
    ++costs::counts.system_calls;
    value_.notify_all();
  }

 private:
  std::atomic<T> value_{};
};

class mutex {
 public:
  constexpr mutex() noexcept = default;
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;

  void lock() {
    ++costs::counts.locks;
    mutex_.lock();
  }
  [[nodiscard]] bool try_lock() noexcept {
    ++costs::counts.locks;
    return mutex_.try_lock();
  }
  void unlock() noexcept { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

class condition_variable {
 public:
  template <class... Arguments>
  void wait(Arguments&&... arguments) {
    ++costs::counts.system_calls;
    condition_.wait(std::forward<Arguments>(arguments)...);
  }
  template <class... Arguments>
  auto wait_until(Arguments&&... arguments) {
    ++costs::counts.system_calls;
    return condition_.wait_until(std::forward<Arguments>(arguments)...);
  }
  void notify_one() noexcept {
    ++costs::counts.system_calls;
    condition_.notify_one();
  }
  void notify_all() noexcept {
    ++costs::counts.system_calls;
    condition_.notify_all();
  }

 private:
  std::condition_variable_any condition_;
};

[[nodiscard]] inline TimePoint now() noexcept { return std::chrono::steady_clock::now(); }

}  // namespace cohort::detail::sync
