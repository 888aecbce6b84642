#pragma once

#include <cohort/detail/awaitable.hpp>
#include <cohort/detail/blocking_wait.hpp>
#include <cohort/detail/intrusive_list.hpp>
#include <cohort/detail/state.hpp>
#include <cohort/detail/suspension.hpp>
#include <cohort/detail/sync.hpp>
#include <cohort/duration.hpp>

#include <coroutine>  // for std::coroutine_handle
#include <cstddef>    // for std::size_t
#include <memory>     // for std::unique_ptr
#include <mutex>      // for std::lock_guard
#include <vector>     // for std::vector

namespace cohort::detail {

/// Many futures, and those of them that are done in the order in which they were: what as_completed and wait are made
/// of.
///
/// Each future is waited for once, however many times somebody asks for the next: O(1) per future in all. Several
/// threads may complete futures at the same time; one consumer asks.
///
/// *Lifetime*: reference-counted, by the consumer and by each future that is waited for, so that one who is about to
/// report is never waited for.
class CompletionSet {
 public:
  /// Takes over the handles in `handles`; those to a future that is in already are dropped. Done futures come first, in
  /// order.
  [[nodiscard]] static CompletionSet* create(std::vector<StateBase*> handles);

  CompletionSet(const CompletionSet&) = delete;
  CompletionSet& operator=(const CompletionSet&) = delete;

  /// By the consumer, at the end: waits for nothing any more; with `cancel` cancels what is not done.
  void abandon(bool cancel) noexcept;

  /// The futures, each once, in the order in which they were given.
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
  [[nodiscard]] StateBase& at(std::size_t index) const noexcept { return *entries_[index].state; }
  /// How many are not done.
  [[nodiscard]] std::size_t unfinished() noexcept;

  /// The next that is done, with its handle; null when none is done that was not given out.
  [[nodiscard]] StateBase* take() noexcept;
  /// Whether all have been given out.
  [[nodiscard]] bool exhausted() noexcept;

  /// Blocks until `count` more than were given out are done, or the deadline has passed.
  bool wait_blocking(std::size_t count, TimePoint deadline);

  /// `co_await Ready(set, count, deadline)`: the same in a coroutine; whether they are done. A cancellation point.
  class Ready;

 private:
  struct Entry : Waiter {
    Entry() = default;
    Entry* next_done = nullptr;
    CompletionSet* set = nullptr;
    StateBase* state = nullptr;  // a handle, until given out
  };
  // Who waits for more.
  struct Consumer {
    void (*wake)(Consumer&) noexcept = nullptr;
    std::size_t wanted = 0;
    bool waiting = false;
  };

  CompletionSet() = default;
  ~CompletionSet() = default;

  void add(StateBase& handle, std::size_t index) noexcept;
  void done(Entry& entry) noexcept;
  [[nodiscard]] bool start_waiting(Consumer& consumer, std::size_t count) noexcept;
  bool stop_waiting(Consumer& consumer) noexcept;
  void drop_reference() noexcept;

  std::vector<Entry> entries_;
  sync::atomic<std::size_t> references_{1};
  sync::mutex mutex_;
  // Under the mutex: those that are done and not given out, how many those are, and how many were given out.
  Entry* first_done_ = nullptr;
  Entry* last_done_ = nullptr;
  std::size_t ready_ = 0;
  std::size_t given_out_ = 0;
  Consumer* consumer_ = nullptr;
};

class [[nodiscard]] CompletionSet::Ready {
 public:
  class Awaiter {
   public:
    Awaiter(CompletionSet& set, std::size_t count, TimePoint deadline, StateBase* task) noexcept
        : set_(&set), count_(count), deadline_(deadline), task_(task) {}
    Awaiter(const Awaiter&) = delete;
    Awaiter& operator=(const Awaiter&) = delete;

    [[nodiscard]] bool await_ready() const noexcept { return false; }
    COHORT_SUSPEND_OUT_OF_LINE bool await_suspend(std::coroutine_handle<> handle) { return wait(handle); }
    [[nodiscard]] bool await_resume() const {
      const Wake reason = wait_.reason();
      if (reason == Wake::stopped) throw_unless_ready(reason, "");
      return reason == Wake::ready;
    }

   private:
    struct Wait : Suspension, Consumer {
      CompletionSet* set = nullptr;
    };
    bool wait(std::coroutine_handle<> handle);

    CompletionSet* set_;
    std::size_t count_;
    TimePoint deadline_;
    StateBase* task_;
    Wait wait_;
    Suspension::TimeSource timer_;
  };

  Ready(CompletionSet& set, std::size_t count, TimePoint deadline) noexcept
      : set_(&set), count_(count), deadline_(deadline) {}
  [[nodiscard]] Awaiter bind(StateBase* task) const noexcept { return Awaiter(*set_, count_, deadline_, task); }
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
