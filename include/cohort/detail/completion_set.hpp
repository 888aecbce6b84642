#pragma once

#include <cohort/detail/awaitable.hpp>
#include <cohort/detail/blocking_wait.hpp>
#include <cohort/detail/intrusive_list.hpp>
#include <cohort/detail/state.hpp>
#include <cohort/detail/suspension.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/detail/tally.hpp>
#include <cohort/duration.hpp>

#include <coroutine>  // for std::coroutine_handle
#include <cstddef>    // for std::size_t
#include <cstdint>    // for std::uint64_t
#include <memory>     // for std::unique_ptr
#include <utility>    // for std::exchange
#include <vector>     // for std::vector

namespace cohort::detail {

/// The states of futures, with a handle to each that is not null.
struct Handles {
  Handles() = default;
  Handles(Handles&&) = default;
  Handles& operator=(Handles&&) = delete;
  ~Handles() {
    for (StateBase* state : states) {
      if (state != nullptr) state->drop(StateBase::one_handle);
    }
  }

  [[nodiscard]] StateBase* take(std::size_t index) noexcept { return std::exchange(states[index], nullptr); }

  std::vector<StateBase*> states;
  /// How many handles there are at least to a state that is in twice.
  std::uint64_t if_twice = 2;
};

/// Many futures, and those of them that are done in the order in which they were: what as_completed and wait are made
/// of.
///
/// Each future is waited for once, however many times somebody asks for the next: O(1) per future in all. Several
/// threads may complete futures at the same time; one consumer asks. What is done is a stack, with the newest on top, to
/// which they push and which the consumer takes as a whole; a Tally tells who wakes him.
///
/// *Lifetime*: until the consumer has abandoned it and the last of those who are about to report has; nobody waits for
/// them.
class CompletionSet {
 public:
  /// Takes over `handles`; those to a future that is in already are dropped. Done futures come first, in order.
  /// *Throws*: `std::bad_alloc`.
  [[nodiscard]] static CompletionSet* create(Handles handles);

  CompletionSet(const CompletionSet&) = delete;
  CompletionSet& operator=(const CompletionSet&) = delete;

  /// By the consumer, at the end: waits for nothing any more; with `cancel` cancels what is not done.
  void abandon(bool cancel) noexcept;

  // The rest by the consumer, too.

  /// How many futures there are.
  [[nodiscard]] std::size_t size() const noexcept { return handles_.states.size(); }
  /// How many are not done.
  [[nodiscard]] std::size_t unfinished() const noexcept;

  /// The next that is done, with its handle. One must be ready: see Ready.
  [[nodiscard]] StateBase* take() noexcept { return handles_.take(next_done()); }
  /// The same, but its handle stays here, for take_all().
  [[nodiscard]] const StateBase& look() noexcept { return *handles_.states[next_done()]; }
  /// The handles of all, in the order in which they were given, if none was taken.
  [[nodiscard]] Handles take_all() noexcept;
  /// Whether all have been given out.
  [[nodiscard]] bool exhausted() const noexcept { return given_out_ == size(); }
  /// Whether one that was not given out is done.
  [[nodiscard]] bool has_done() const noexcept {
    return has_early(1) || late_ != nullptr || done_.load(std::memory_order_relaxed) != nullptr;  // relaxed: a look
  }
  /// Whether `count` that were not given out were done from the beginning.
  [[nodiscard]] bool has_early(std::size_t count) const noexcept { return early_left_ >= count; }

  /// Blocks until `count` more than were given out are done, or the deadline has passed.
  bool wait_blocking(std::size_t count, TimePoint deadline);

  /// `co_await Ready(set, count, deadline)`: the same in a coroutine; whether they are done. A cancellation point.
  class Ready;

 private:
  // Waits for one future. Of one that is done, `before` links it with the one that was done before it.
  struct Entry : Waiter {
    explicit Entry(CompletionSet& owner) noexcept;
    CompletionSet* set;
  };
  // Who waits for more.
  struct Consumer {
    void (*wake)(Consumer&) noexcept = nullptr;
  };

  explicit CompletionSet(Handles&& handles) : handles_(std::move(handles)), early_(size()) {}
  ~CompletionSet() = default;

  void listen();
  void report(Entry& entry) noexcept;
  [[nodiscard]] std::size_t next_done() noexcept;
  [[nodiscard]] std::size_t index_of(const Waiter& entry) const noexcept;
  void stop_listening() noexcept;
  [[nodiscard]] bool start_waiting(Consumer& consumer, std::size_t count) noexcept;
  [[nodiscard]] bool stop_waiting() noexcept { return reports_.withdraw(); }

  // The consumer's.
  Handles handles_;              // null when given out
  std::vector<bool> early_;      // which were done from the beginning,
  std::size_t early_left_ = 0;   // how many of them have not been given out,
  std::size_t early_index_ = 0;  // and where the next of these is, or before it
  std::size_t given_out_ = 0;
  std::size_t reports_used_ = 0;  // how many have been given out, or made early
  Waiter* late_ = nullptr;        // taken from done_, oldest first

  std::vector<Entry> entries_;    // of the first that was not done from the beginning, and of all behind it
  std::size_t first_entry_ = 0;   // the index of that
  std::size_t listening_to_ = 0;  // how many report, or have reported

  sync::atomic<Waiter*> done_{nullptr};  // the newest of those that were not early, and are not in late_
  Tally<> reports_;                      // of those, or of the end of all: then the last deletes the set
  Consumer* consumer_ = nullptr;         // written before he waits, read by the report that wakes him; null at the end
};

class [[nodiscard]] CompletionSet::Ready {
 public:
  class Awaiter {
   public:
    Awaiter(CompletionSet* set, std::size_t count, TimePoint deadline, StateBase* task) noexcept
        : count_(count), wait_(set, deadline, task) {}
    Awaiter(const Awaiter&) = delete;
    Awaiter& operator=(const Awaiter&) = delete;

    [[nodiscard]] bool await_ready() const noexcept {
      return wait_.set->has_early(count_) && !asked_to_stop(wait_.task());
    }
    COHORT_SUSPEND_OUT_OF_LINE bool await_suspend(std::coroutine_handle<> handle) { return wait(handle); }
    [[nodiscard]] bool await_resume() const {
      const Wake reason = wait_.reason();  // none: it was ready
      if (reason == Wake::stopped) throw_unless_ready(reason, "");
      return reason != Wake::timed_out;
    }

   private:
    struct Wait : Suspension, Consumer {
      Wait(CompletionSet* awaited, TimePoint deadline, StateBase* task) noexcept
          : Suspension(task, deadline), set(awaited) {}
      CompletionSet* set;
    };
    bool wait(std::coroutine_handle<> handle);

    std::size_t count_;
    Wait wait_;
  };

  Ready(CompletionSet& set, std::size_t count, TimePoint deadline) noexcept
      : set_(&set), count_(count), deadline_(deadline) {}
  [[nodiscard]] Awaiter bind(StateBase* task) const noexcept { return Awaiter(set_, count_, deadline_, task); }
  [[nodiscard]] Awaiter operator co_await() const noexcept { return bind(nullptr); }

 private:
  CompletionSet* set_;
  std::size_t count_;
  TimePoint deadline_;
};

/// Owns the consumer's part of a set.
struct AbandonCompletionSet {
  bool cancels = false;
  void operator()(CompletionSet* set) const noexcept { set->abandon(cancels); }
};
using CompletionSetOwner = std::unique_ptr<CompletionSet, AbandonCompletionSet>;

}  // namespace cohort::detail
