#pragma once

#include <cohort/detail/sync.hpp>

#include <atomic>   // for std::memory_order
#include <cstdint>  // for std::uintptr_t

namespace cohort::detail {

/// Waits a little for a lock that is held for a few instructions; yields the processor when its holder seems preempted.
class SpinWait {
 public:
  void operator()() noexcept {
    if (++count_ > 64) yield();
  }

 private:
  static void yield() noexcept;
  int count_ = 0;
};

/// Links for FlaggedList; they belong to the list's lock.
template <class T>
struct FlaggedLink {
  T* after = nullptr;  // null: it is in no list
  T* before = nullptr;
};

/// A list of waiting things, and two flags that say whether it still makes sense to wait, in one word.
///
/// The word holds the two flags, a lock bit, and the first element, whose `before` is the last: the list is a ring.
/// The lock bit is held for a handful of instructions, never while other code runs. `closed` ends the list: nothing can
/// be added any more. `marked` is a second flag, claimed once. Elements are aligned to 16 bytes, and have FlaggedLink's
/// members.
///
/// *Thread safety*: all members from any thread.
/// `Atomic` and `Wait` are parameters so that a model checker can put its own in place of them.
template <class T, template <class> class Atomic = sync::atomic, class Wait = SpinWait>
class FlaggedList {
 public:
  static constexpr std::uintptr_t closed = 1;
  static constexpr std::uintptr_t marked = 2;
  static constexpr std::uintptr_t void_mark = 8;  // beside `marked`, by mark_void()

  FlaggedList() = default;
  /// With flags from the beginning. A list that is `marked` takes less to lock, also where that says nothing.
  explicit constexpr FlaggedList(std::uintptr_t flags_set) noexcept : word_(flags_set) {}

  [[nodiscard]] bool has(std::uintptr_t flag) const noexcept {
    return (word_.load(std::memory_order_acquire) & flag) != 0;  // acquire: pairs with what set the flag
  }

  /// Sets `marked`: true for the one caller who did. acq_rel: the claimer sees what was done before, and shows its own.
  [[nodiscard]] bool mark() noexcept { return (word_.fetch_or(marked, std::memory_order_acq_rel) & marked) == 0; }

  /// Sets `marked` and `void_mark` together: true for the one caller who did.
  [[nodiscard]] bool mark_void() noexcept {
    std::uintptr_t word = word_.load(std::memory_order_relaxed);  // relaxed: the exchange decides
    do {
      if ((word & marked) != 0) return false;
      // acq_rel: as in mark()
    } while (!word_.compare_exchange_weak(word, word | marked | void_mark, std::memory_order_acq_rel,
                                          std::memory_order_relaxed));
    return true;
  }

  /// When nobody else can see the list, and it is empty: the flags replaced without a locked operation.
  void set_alone(std::uintptr_t with_flags) noexcept {
    word_.store(with_flags, std::memory_order_relaxed);
  }  // relaxed: alone

  /// Appends `element`; false, and nothing done, when the list is closed.
  [[nodiscard]] bool add(T& element) noexcept {
    std::uintptr_t word = lock();
    const bool open = (word & closed) == 0;
    if (open) {
      if (T* first = pointer(word)) {
        T* last = first->before;
        last->after = &element;
        element.before = last;
        first->before = &element;
        element.after = first;
      } else {
        element.after = element.before = &element;
        word |= reinterpret_cast<std::uintptr_t>(&element);
      }
    }
    unlock(word);
    return open;
  }

  /// Takes `element` out; false when it is not in: never added, or taken by the one who closed the list.
  bool remove(T& element) noexcept {
    const std::uintptr_t word = lock();
    const bool was_in = element.after != nullptr;
    unlock(was_in ? without(word, element) : word);
    return was_in;
  }

  /// Closes the list: true for the one caller who did.
  bool close() noexcept {
    const std::uintptr_t word = lock();
    unlock(word | closed);
    return (word & closed) == 0;
  }

  /// Closes the list when it is empty, which it usually is, by one exchange; false when it is not.
  [[nodiscard]] bool close_if_empty() noexcept {
    std::uintptr_t word = word_.load(std::memory_order_relaxed);  // relaxed: the exchange decides
    while ((word & ~(marked | void_mark)) == 0) {
      // acq_rel: publishes what was written before, to whoever sees `closed`
      if (word_.compare_exchange_weak(word, word | closed, std::memory_order_acq_rel, std::memory_order_relaxed))
        return true;
    }
    return false;
  }

  /// Closes the list, and takes the first element out; null when there is none.
  [[nodiscard]] T* close_and_pop() noexcept {
    const std::uintptr_t word = lock();
    T* first = pointer(word);
    unlock(closed | (first != nullptr ? without(word, *first) : word));
    return first;
  }

  /// Takes the first element out; null when there is none.
  [[nodiscard]] T* pop() noexcept {
    // acquire: as in has(), whose answer is read after this one
    if (pointer(word_.load(std::memory_order_acquire)) == nullptr && has(closed)) return nullptr;
    const std::uintptr_t word = lock();
    T* first = pointer(word);
    unlock(first != nullptr ? without(word, *first) : word);
    return first;
  }

  /// Shows the elements to `look`, under the lock, until it returns true. It must be brief and run no foreign code.
  template <class Look>
  void find(Look look) noexcept {
    const std::uintptr_t word = lock();
    T* const first = pointer(word);
    for (T* each = first; each != nullptr && !look(*each);) each = each->after != first ? each->after : nullptr;
    unlock(word);
  }

  /// Whether there is an element. Only a hint when others may add.
  [[nodiscard]] bool empty() const noexcept {
    return pointer(word_.load(std::memory_order_acquire)) == nullptr;  // acquire: pairs with unlock()
  }

 private:
  static constexpr std::uintptr_t locked = 4;
  static constexpr std::uintptr_t flags = 15;

  static T* pointer(std::uintptr_t word) noexcept { return reinterpret_cast<T*>(word & ~flags); }

  // Returns the word without the lock bit.
  std::uintptr_t lock() noexcept {
    const std::uintptr_t word = word_.fetch_or(locked, std::memory_order_acquire);  // acquire: pairs with unlock()
    return (word & locked) == 0 ? word : lock_patiently();
  }

  // Not inline, for the sake of the registers that lock() then need not save.
  [[gnu::noinline]] std::uintptr_t lock_patiently() noexcept {
    Wait wait;
    for (;;) {
      wait();
      const std::uintptr_t word = word_.fetch_or(locked, std::memory_order_acquire);  // acquire: as above
      if ((word & locked) == 0) return word;
    }
  }

  // release: what was done under the lock, and before closing, is seen by the next to look.
  void unlock(std::uintptr_t word) noexcept {
    if ((word & marked) != 0) {
      word_.store(word, std::memory_order_release);  // nobody else changes anything while it is locked
      return;
    }
    std::uintptr_t current = word | locked;
    // mark() does not take the lock: keep what it set meanwhile. release: as above
    while (!word_.compare_exchange_weak(current, word | (current & (marked | void_mark)), std::memory_order_release,
                                        std::memory_order_relaxed)) {
    }
  }

  static std::uintptr_t without(std::uintptr_t word, T& element) noexcept {
    T* first = pointer(word);
    T* next = element.after;
    element.after = nullptr;
    if (next == &element) return word & flags;
    element.before->after = next;
    next->before = element.before;
    if (first != &element) return word;
    return (word & flags) | reinterpret_cast<std::uintptr_t>(next);
  }

  Atomic<std::uintptr_t> word_{0};
};

}  // namespace cohort::detail
