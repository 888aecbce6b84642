#pragma once

#include <cohort/detail/awaitable.hpp>
#include <cohort/detail/intrusive_list.hpp>
#include <cohort/detail/suspension.hpp>
#include <cohort/detail/sync.hpp>

#include <coroutine>  // for std::coroutine_handle
#include <cstddef>    // for std::ptrdiff_t
#include <mutex>      // for std::lock_guard
#include <utility>    // for std::exchange

namespace cohort {

class Semaphore;

/// The right to do something that only so many may do at once; given back when it is destroyed.
///
/// *Thread safety*: may be passed to and released on any thread; one object belongs to one thread at a time.
/// *Lifetime*: the semaphore must outlive it.
class [[nodiscard]] Permit {
 public:
  /// No permit.
  Permit() noexcept = default;
  Permit(Permit&& other) noexcept : semaphore_(std::exchange(other.semaphore_, nullptr)) {}
  Permit& operator=(Permit&& other) noexcept {
    if (this != &other) {
      release();
      semaphore_ = std::exchange(other.semaphore_, nullptr);
    }
    return *this;
  }
  Permit(const Permit&) = delete;
  Permit& operator=(const Permit&) = delete;
  ~Permit() { release(); }

  /// Gives it back now.
  void release() noexcept;

  /// Whether it holds a permit.
  [[nodiscard]] explicit operator bool() const noexcept { return semaphore_ != nullptr; }

 private:
  friend class Semaphore;
  explicit Permit(Semaphore& semaphore) noexcept : semaphore_(&semaphore) {}

  Semaphore* semaphore_ = nullptr;
};

/// A counting semaphore for coroutines: who waits for a permit holds no thread.
///
///     cohort::Semaphore connections(4);
///     cohort::Permit permit = co_await connections.acquire();   // until the end of the scope
///
/// *Order*: first come, first served; nobody overtakes those who wait. Where a waiter goes on is its own executor.
/// *Cancellation*: waiting is a cancellation point. A permit that comes to a waiter which was cancelled goes to the
/// next.
/// *Thread safety*: every member from any thread.
/// *Lifetime*: must outlive those who wait and their permits.
/// *Complexity*: O(1); waiting allocates nothing.
class Semaphore {
 public:
  class Awaiter;
  class Acquire;

  /// `permits` may be zero: then somebody must release() first.
  /// *Throws*: `std::invalid_argument` when negative.
  explicit Semaphore(std::ptrdiff_t permits);
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;
  ~Semaphore() = default;

  /// `co_await acquire()` waits for a permit. *Throws*: CancelledError when the awaiting task is asked to stop.
  [[nodiscard]] Acquire acquire() noexcept;

  /// Takes a permit if one is free and nobody waits; whether it did. Give it back with release().
  [[nodiscard]] bool try_acquire() noexcept;

  /// Gives back a permit that try_acquire() took, or adds one.
  void release() noexcept;

 private:
  struct Waiting : detail::Suspension {
    Waiting(Semaphore& awaited, detail::StateBase* task) noexcept : Suspension(task), semaphore(&awaited) {}
    Waiting* next = nullptr;
    Waiting* previous = nullptr;
    bool linked = false;
    Semaphore* semaphore;
  };

  detail::sync::mutex mutex_;
  std::ptrdiff_t free_;                     // under the mutex; zero while anybody waits
  detail::IntrusiveList<Waiting> waiting_;  // under the mutex
};

/// Waits for a permit.
class [[nodiscard]] Semaphore::Awaiter {
 public:
  Awaiter(Semaphore& semaphore, detail::StateBase* task) noexcept : waiting_(semaphore, task) {}
  Awaiter(const Awaiter&) = delete;
  Awaiter& operator=(const Awaiter&) = delete;

  [[nodiscard]] bool await_ready() noexcept {
    taken_ = !detail::asked_to_stop(waiting_.task()) && waiting_.semaphore->try_acquire();
    return taken_;
  }
  COHORT_SUSPEND_OUT_OF_LINE bool await_suspend(std::coroutine_handle<> handle) noexcept { return wait(handle); }
  Permit await_resume() {
    if (!taken_) detail::throw_unless_ready(waiting_.reason(), "");
    return Permit(*waiting_.semaphore);
  }

 private:
  bool wait(std::coroutine_handle<> handle) noexcept;

  bool taken_ = false;  // at once
  Waiting waiting_;
};

/// What `acquire()` returns.
class [[nodiscard]] Semaphore::Acquire {
 public:
  explicit Acquire(Semaphore& semaphore) noexcept : semaphore_(&semaphore) {}
  [[nodiscard]] Awaiter bind(detail::StateBase* task) const noexcept { return Awaiter(*semaphore_, task); }
  [[nodiscard]] Awaiter operator co_await() const noexcept { return bind(nullptr); }

 private:
  Semaphore* semaphore_;
};

inline Semaphore::Acquire Semaphore::acquire() noexcept { return Acquire(*this); }

inline void Permit::release() noexcept {
  if (semaphore_ != nullptr) std::exchange(semaphore_, nullptr)->release();
}

}  // namespace cohort
