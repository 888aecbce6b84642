#pragma once

#include <cohort/detail/cache_line.hpp>
#include <cohort/detail/node.hpp>
#include <cohort/detail/prefetch.hpp>
#include <cohort/detail/sync.hpp>

#include <atomic>  // for std::memory_order
#include <mutex>   // for std::lock_guard, std::unique_lock

namespace cohort::detail {

/// What comes to a pool from outside its workers, first in, first out.
///
/// A push is one compare-exchange on a stack (Treiber, "Systems programming: coping with parallelism", IBM RJ 5118,
/// 1986); a pop takes from a list in order of arrival, to which the whole stack is added, turned round, when it is empty.
///
/// *Thread safety*: all members from any thread.
/// `T` is linked through its member `next`; it, `Atomic` and `Mutex` are parameters so that a model checker can put its own
/// in place of those that the pool uses.
template <class T, template <class> class Atomic = sync::atomic, class Mutex = sync::mutex>
class BasicInjectionQueue {
 public:
  void push(T& node) noexcept {
    T* top = inbox_.load(std::memory_order_relaxed);  // relaxed: the exchange decides
    do {
      node.next = top;
      // seq_cst: publishes the node, and stands before the pusher's look for sleeping workers. See
      // ThreadPool::wake_if_needed.
    } while (!inbox_.compare_exchange_weak(top, &node, std::memory_order_seq_cst, std::memory_order_relaxed));
  }

  [[nodiscard]] T* pop() noexcept {
    // Not even a look at the pushers' line while something is in order. relaxed: a hint, the mutex decides
    if (!has_ready_.load(std::memory_order_relaxed) && empty()) return nullptr;
    std::lock_guard lock(mutex_);
    if (ready_ == nullptr) refill();
    T* node = ready_;
    if (node != nullptr) {
      ready_ = node->next;
      prefetch<0, 384>(ready_);  // the next task, when they lie so long that no cache has them any more
      if (ready_ == nullptr) has_ready_.store(false, std::memory_order_seq_cst);  // seq_cst: see empty()
    }
    return node;
  }

  /// What pop() does when it has nothing left in order; by one who pushes, now and then, while he has what he pushed in
  /// his cache, and it is not yet so much that others wait for it.
  void turn_round() noexcept {
    std::unique_lock lock(mutex_, std::try_to_lock);
    if (lock) refill();
  }

  /// Shows what is there to `look`, under the lock, until it returns false. It must be brief and run no foreign code. What
  /// is in the inbox stays there meanwhile, since only who has the lock takes from it.
  template <class Look>
  void show(Look look) noexcept {
    std::lock_guard lock(mutex_);
    const T* node = ready_;
    while (node != nullptr && look(*node)) node = node->next;
    if (node != nullptr) return;
    // acquire: pairs with the pushes
    for (node = inbox_.load(std::memory_order_acquire); node != nullptr && look(*node);) node = node->next;
  }

  /// Whether there was nothing. seq_cst, for the look around before sleeping; the inbox first, since refill() announces
  /// what it moves before it takes it from there.
  [[nodiscard]] bool empty() const noexcept {
    return inbox_.load(std::memory_order_seq_cst) == nullptr && !has_ready_.load(std::memory_order_seq_cst);
  }

 private:
  void refill() noexcept {
    has_ready_.store(true, std::memory_order_seq_cst);
    T* node = inbox_.exchange(nullptr, std::memory_order_seq_cst);
    T* const last = node;
    T* first = nullptr;
    while (node != nullptr) {  // the newest is on top: turn the stack round
      T* next = node->next;
      node->next = first;
      first = node;
      node = next;
    }
    if (first != nullptr) {
      if (ready_ != nullptr) {
        last_ready_->next = first;
      } else {
        ready_ = first;
      }
      last_ready_ = last;
    }
    if (ready_ == nullptr) has_ready_.store(false, std::memory_order_seq_cst);
  }

  // A line for those who push, and one for those who pop.
  alignas(cache_line_size) Atomic<T*> inbox_{nullptr};
  alignas(cache_line_size) Atomic<bool> has_ready_{false};  // whether ready_ has nodes; written under the mutex
  Mutex mutex_;
  T* ready_ = nullptr;       // in order; under the mutex
  T* last_ready_ = nullptr;  // of these, when there are any
};

using InjectionQueue = BasicInjectionQueue<Node>;

}  // namespace cohort::detail
